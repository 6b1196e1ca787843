import { defineConfig } from "vitest/config";

export default defineConfig({
  root: "page",
  base: "./",
  build: { outDir: "../../crosstune_export/web/page", emptyOutDir: true, target: "es2022", assetsInlineLimit: 0 },
  worker: { format: "es" },
  test: { root: ".", include: ["test/**/*.test.ts"] },
});
