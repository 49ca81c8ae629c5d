// Builds the explorer into dist/: the page's script and style, and Monaco's workers. `cargo build` puts what is there into the
// program (../build.rs).
//
//   npm ci && npm run build
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

rmSync('dist', { recursive: true, force: true });
const common = { bundle: true, minify: true, outdir: 'dist', logLevel: 'warning', target: 'es2022', legalComments: 'none', define: { 'process.env.NODE_ENV': '"production"' } };
await build({ ...common, entryPoints: { explorer: 'src/main.jsx' }, format: 'esm', splitting: false, loader: { '.ttf': 'dataurl', '.woff2': 'dataurl' } });
await build({
  ...common,
  format: 'iife',
  entryPoints: {
    'editor.worker': 'monaco-editor/esm/vs/editor/editor.worker.js',
    'json.worker': 'monaco-editor/esm/vs/language/json/json.worker.js',
    'graphql.worker': 'monaco-graphql/esm/graphql.worker.js',
  },
});

// Compressed, for the program keeps and serves them so.
for (const name of readdirSync('dist')) {
  writeFileSync(`dist/${name}.gz`, gzipSync(readFileSync(`dist/${name}`), { level: 9 }));
  rmSync(`dist/${name}`);
}
