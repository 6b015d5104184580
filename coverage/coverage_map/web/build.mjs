// Builds dist/: one hashed script, one stylesheet, MapLibre's worker, the land outline, licences.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, process.argv[2] ?? "dist");
const assets = join(dist, "assets");
rmSync(dist, { recursive: true, force: true });
mkdirSync(assets, { recursive: true });

/** Writes an asset under a name that holds a hash of its content, so it may be cached for ever. */
function asset(name, content) {
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 10);
  const [, stem, extension] = name.match(/^(.*?)(\.[^.]+)$/);
  const path = join(assets, `${stem}-${hash}${extension}`);
  writeFileSync(path, content);
  // Packed as small as can be, once; a server that packs on the fly can't spend seconds on it.
  writeFileSync(`${path}.br`, brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: content.length } }));
  writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
  return `/assets/${stem}-${hash}${extension}`;
}

/** deck.gl brings each shader for WebGPU too; the page draws with WebGL 2, so those are left out. */
const webgl = {
  name: "webgl-only",
  setup({ onLoad }) {
    onLoad({ filter: /node_modules\/(@deck\.gl\/(core|layers)|@luma\.gl\/(engine|shadertools))\/.*\.js$/ }, ({ path }) => {
      const code = readFileSync(path, "utf8");
      const contents = code.replace(/\/\* wgsl \*\/ `(?:\\[^]|[^`\\])*`(?=[;,])/gi, '""');
      return contents === code ? undefined : { contents, loader: "js" };
    });
  },
};

const worker = asset("worker.js", readFileSync(join(root, "node_modules/maplibre-gl/dist/maplibre-gl-worker.mjs")));
const land = asset("land.json", readFileSync(join(root, "node_modules/world-atlas/land-110m.json")));
const landFine = asset("land-fine.json", readFileSync(join(root, "node_modules/world-atlas/land-50m.json")));

const result = await build({
  absWorkingDir: root,
  entryPoints: ["src/main.ts", "src/style.css"],
  bundle: true,
  write: false,
  outdir: assets,
  format: "esm",
  target: "es2022",
  minify: true,
  metafile: true,
  plugins: [webgl],
  legalComments: "none",
  define: {
    WORKER_URL: JSON.stringify(worker),
    LAND_URL: JSON.stringify(land),
    LAND_FINE_URL: JSON.stringify(landFine),
    "process.env.NODE_ENV": '"production"',
  },
  logLevel: "warning",
});
const urls = {};
for (const file of result.outputFiles) {
  const name = file.path.endsWith(".css") ? "style.css" : "app.js";
  urls[name] = asset(name, file.contents);
}

const page = readFileSync(join(root, "src/index.html"), "utf8")
  .replaceAll("{{style}}", urls["style.css"])
  .replaceAll("{{script}}", urls["app.js"])
  .replaceAll("{{worker}}", worker);
writeFileSync(join(dist, "index.html"), page);
cpSync(join(root, "src/icon.svg"), join(dist, "icon.svg"));
writeFileSync(join(dist, "LICENSES.txt"), licences(Object.keys(result.metafile.inputs)));

/** Licence texts of every package whose code is in the bundle. */
function licences(inputs) {
  const packages = new Set(["world-atlas"]);
  for (const input of inputs) {
    const found = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/g);
    if (found) packages.add(found.at(-1).slice("node_modules/".length));
  }
  const parts = [...packages].sort().map((name) => {
    const folder = join(root, "node_modules", name);
    if (!existsSync(folder)) return "";
    const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? readFileSync(join(folder, file), "utf8").trim() : `${about.license} (see the package)`;
    return `${name} ${about.version}\n${"=".repeat(60)}\n${text}\n`;
  });
  return parts.join("\n");
}
