// Runs the jobs of FOLDER/jobs.json in Node, or in a browser. Usage: node node.mjs FOLDER LOADER [BROWSER]
//
// The browser gets a page from a server that this starts on the loopback interface; it fetches modules and inputs, and posts the outputs back. The server
// sets the headers that shared memory asks for. What failed goes to FOLDER/failures.json.
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { runJobs } from "./jobs.mjs";

const [folder, loader, browser] = process.argv.slice(2).map((p) => resolve(p));
const jobs = JSON.parse(await readFile(join(folder, "jobs.json"), "utf8"));
const done = (failures) => writeFile(join(folder, "failures.json"), JSON.stringify(failures));

if (browser) await done(await inBrowser());
else {
  const read = async (file) => readFile(join(folder, file));
  const write = (file, bytes) => writeFile(join(folder, file), bytes);
  await done(await runJobs(await import(pathToFileURL(join(loader, "tflc.js"))), jobs, read, write));
}
process.exit(0);

function inBrowser() {
  return new Promise((finish, fail) => {
    const page = `<!doctype html><script type="module">
      import * as tflc from "/loader/tflc.js";
      import { runJobs } from "/jobs.mjs";
      const read = async (file) => (await fetch("/file/" + file)).arrayBuffer();
      const write = (file, body) => fetch("/file/" + file, { method: "POST", body });
      let failures;
      try {
        failures = await runJobs(tflc, await (await fetch("/file/jobs.json")).json(), read, write);
      } catch (error) {
        failures = [{ job: "page", error: String(error.stack) }];
      }
      await fetch("/done", { method: "POST", body: JSON.stringify(failures) });
    </script>`;
    let child, failures;
    const types = { js: "text/javascript", mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };
    const server = createServer(async (request, response) => {
      const [, area, name = ""] = request.url.split("/");
      const headers = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
      try {
        const parts = [];
        for await (const part of request) parts.push(part);
        const body = Buffer.concat(parts);
        if (area === "") return response.writeHead(200, { ...headers, "Content-Type": "text/html" }).end(page);
        if (area === "done") {
          response.writeHead(200, headers).end();
          failures = JSON.parse(body.toString());
          return child.kill();
        }
        const places = { loader: loader, file: folder };
        const path = area === "jobs.mjs" ? new URL("./jobs.mjs", import.meta.url) : join(places[area], basename(name));
        if (request.method === "POST") {
          await writeFile(path, body);
          return response.writeHead(200, headers).end();
        }
        const type = types[String(path).split(".").at(-1)] ?? "application/octet-stream";
        response.writeHead(200, { ...headers, "Content-Type": type }).end(await readFile(path));
      } catch (error) {
        response.writeHead(404, headers).end(String(error));
      }
    });
    server.listen(0, "127.0.0.1", () => {
      const profile = mkdtempSync(join(tmpdir(), "tflc-browser-"));
      const quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
      const flags = ["--headless", "--no-sandbox", "--disable-dev-shm-usage", ...quiet, `--user-data-dir=${profile}`];
      child = spawn(browser, [...flags, `http://127.0.0.1:${server.address().port}/`], { stdio: "ignore", env: { ...process.env, TMPDIR: profile } });
      child.on("error", fail);
      const stop = setTimeout(() => child.kill(), 300_000);
      child.on("exit", async () => {
        clearTimeout(stop);
        // Other processes of the browser may outlive it by a moment and still write; the removal then tries again.
        await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
        if (failures) finish(failures);
        else fail(new Error("the browser ended, or five minutes passed, without a report"));
      });
    });
  });
}
