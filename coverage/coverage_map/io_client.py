"""A running map in a notebook: cells as a GeoDataFrame or an Arrow table in one call.

    from coverage_map.io_client import Map

    city = Map("http://127.0.0.1:8650")
    cells = city.cells(bbox=(8.4, 47.3, 8.6, 47.4), res=9)      # GeoDataFrame
    table = city.cells_arrow(res=8, measured_only=True)         # pyarrow.Table
    plan = city.plan("place-sites", area={"lat": 47.37, "lon": 8.54, "radius_m": 3000}, count=5)

geopandas is needed for GeoDataFrames only, pyarrow for tables only; `rows` needs neither.
"""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urljoin

from chain.errors import EXIT_FAILED, UserError
from coverage_map.client import cells_query, next_link, rows
from coverage_map.service.parameters import Bbox

TIMEOUT_S = 60.0
ASK_EVERY_S = 0.2
ARROW = "application/vnd.apache.arrow.stream"

Tell = Callable[[int, str], None]


class Map:
    """A map service at a URL. UserError in one line where it is away, or refuses a question."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """`key` is an API key of the map's operator, for planning where that needs one."""
        if not url.startswith(("http://", "https://")):
            raise UserError("url", f"can't read {url!r}", "write http://HOST:PORT")
        self.url = url.rstrip("/") + "/"
        self._key = {} if key is None else {"X-API-Key": key}

    # ---- cells

    def cells(
        self, bbox: Bbox | None = None, res: int = 9, *, measured_only: bool = False,
        threshold_dbm: float | None = None, snapshot: str | None = None,
    ) -> Any:  # fmt: skip
        """Cells as a GeoDataFrame (EPSG:4326), indexed by h3, with their hexagons."""
        query = cells_query(bbox, res, measured_only, threshold_dbm, snapshot)
        return self._frame("cells", query, "h3")

    def cells_arrow(
        self, bbox: Bbox | None = None, res: int = 9, *, measured_only: bool = False,
        threshold_dbm: float | None = None, snapshot: str | None = None,
    ) -> Any:  # fmt: skip
        """Cells as a pyarrow.Table; `geometry` is WKB."""
        query = cells_query(bbox, res, measured_only, threshold_dbm, snapshot)
        return self._arrow("cells", query)

    def rows(
        self, bbox: Bbox | None = None, res: int = 9, *, measured_only: bool = False
    ) -> list[dict[str, Any]]:
        """Cells as flat rows, with nothing installed."""
        query = cells_query(bbox, res, measured_only, None, None)
        return [row for page in self._pages("cells", query) for row in rows(page)]

    def hotspots(self, bbox: Bbox | None = None) -> Any:
        """Hotspots as a GeoDataFrame of points, indexed by their number."""
        query = {"limit": "1000"} | ({"bbox": _edges(bbox)} if bbox else {})
        return self._frame("hotspots", query, "hotspot")

    def gaps(self, res: int = 9, threshold_dbm: float | None = None) -> Any:
        """Unserved cells beside served ones, as a GeoDataFrame."""
        query = {"res": str(res), "limit": "10000"}
        query |= {} if threshold_dbm is None else {"threshold_dbm": f"{threshold_dbm:g}"}
        return self._frame("gaps", query, "h3")

    def bounties(self, bbox: Bbox | None = None) -> Any:
        """Cells whose coverage somebody pays for, as a GeoDataFrame indexed by h3.

        A cell with bounties of several sponsors has several rows.
        """
        query = {"limit": "1000"} | ({"bbox": _edges(bbox)} if bbox else {})
        return self._frame("bounties", query, "h3")

    def cell(self, h3: str) -> dict[str, Any]:
        """One cell with its links and the signed records behind it."""
        return dict(self._json(f"cells/{h3}"))

    # ---- planning

    def plan(self, process: str, tell: Tell | None = None, **inputs: Any) -> dict[str, Any]:
        """Have a planning process carried out and wait for its result.

        `tell` hears percent and a note. Interrupting dismisses the job.
        """
        job = self._json(f"processes/{process}/execution", {"inputs": inputs})["jobID"]
        try:
            while (status := self._json(f"jobs/{job}"))["status"] in ("accepted", "running"):
                if tell is not None:
                    tell(int(status["progress"]), str(status["message"]))
                time.sleep(ASK_EVERY_S)
        except KeyboardInterrupt:
            self._open(f"jobs/{job}", method="DELETE")
            raise
        if status["status"] != "successful":
            raise UserError("job", str(status["message"]), "mend it and try again")
        return dict(self._json(f"jobs/{job}/results")["result"])

    # ---- over HTTP

    def _frame(self, collection: str, query: dict[str, str], index: str) -> Any:
        try:
            import geopandas  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise UserError("geopandas", "isn't installed", "pip install geopandas") from None
        found = [one for page in self._pages(collection, query) for one in page["features"]]
        if not found:
            columns = [index, "geometry"]
            return geopandas.GeoDataFrame(columns=columns, crs="EPSG:4326").set_index(index)
        return geopandas.GeoDataFrame.from_features(found, crs="EPSG:4326").set_index(index)

    def _arrow(self, collection: str, query: dict[str, str]) -> Any:
        try:
            import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise UserError("pyarrow", "isn't installed", "pip install pyarrow") from None
        url: str | None = f"collections/{collection}/items?{urlencode({**query, 'f': 'arrow'})}"
        tables = []
        while url:
            body, links = self._open(url)
            tables.append(pa.ipc.open_stream(io.BytesIO(body)).read_all())
            url = next_link(links)
        # A page where a value is always missing has no type for it: it takes that of the others.
        return pa.concat_tables(tables, promote_options="permissive")

    def _pages(self, collection: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        url: str | None = f"collections/{collection}/items?{urlencode(query)}"
        while url:
            page = self._json(url)
            yield page
            links = [link["href"] for link in page.get("links", ()) if link["rel"] == "next"]
            url = links[0] if links else None

    def _json(self, path: str, body: Any = None) -> Any:
        raw, _ = self._open(path, body)
        return json.loads(raw)

    def _open(self, path: str, body: Any = None, method: str | None = None) -> tuple[bytes, str]:
        """An answer's bytes and its Link header."""
        data = None if body is None else json.dumps(body).encode()
        head = self._key | ({} if data is None else {"Content-Type": "application/json"})
        request = urllib.request.Request(urljoin(self.url, path), data, head, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return answer.read(), str(answer.headers.get("Link", ""))
        except urllib.error.HTTPError as error:
            raise UserError("question", _detail(error), "mend it and ask again") from error
        except (urllib.error.URLError, TimeoutError) as error:
            raise UserError(
                "url", f"no map answers at {self.url}: {error}",
                "start one: wavecomb map serve --ledger URL", exit_code=EXIT_FAILED,
            ) from error  # fmt: skip


def _edges(bbox: Bbox) -> str:
    return ",".join(f"{edge:.6f}" for edge in bbox)


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
