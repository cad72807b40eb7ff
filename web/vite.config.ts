import { defineConfig } from "vite";

export default defineConfig({
  base: "/",
  build: {
    outDir: "../src/frugalseg/server/static",
    emptyOutDir: true,
    target: "es2022",
    // The page may load nothing from data: addresses in style sheets or scripts, so nothing is inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
  },
  worker: { format: "es" },
  server: { proxy: { "/api": process.env.FRUGALSEG_SERVER ?? "http://127.0.0.1:8765" } },
});
