import { test, type TestContext } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIp } from "../model/ip.ts";
import type { ListenAddress } from "../model/listen.ts";
import { createHealthApp } from "./app.ts";
import { LIMITS, type Limits, listen, ListenError } from "./listen.ts";
import { A1 } from "./testing.ts";

const app = createHealthApp({ report: () => A1 });
const ANY: ListenAddress = { ip: parseIp("127.0.0.1"), port: 0 };
const unexpected = (error: Error) => assert.fail(error);
const limitsOf = (some: Partial<Limits>): Limits => ({ ...LIMITS, ...some });

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "weft-listen-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

/** Sends text and gathers what comes until the connection ends. */
function talk(address: ListenAddress, text: string): Promise<{ text: string; ms: number }> {
  const start = Date.now();
  return new Promise((resolve) => {
    const socket = "path" in address ? connect({ path: address.path }) : connect(address.port, address.ip);
    let got = "";
    socket.on("connect", () => socket.write(text));
    socket.on("data", (data) => got += data);
    socket.on("error", () => {}); // a reset is an end too
    socket.on("close", () => resolve({ text: got, ms: Date.now() - start }));
  });
}

const GET = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const KEEP = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

test("listen() serves an app on a port that the kernel chose, and says which", async () => {
  await using listener = await listen(app, ANY, unexpected);
  assert.ok("port" in listener.address && listener.address.port > 0);
  assert.match((await talk(listener.address, GET)).text, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nflanneld is running$/);
});

test("listen() answers a probe of HTTP/1.0 that sends no Host", async () => {
  await using listener = await listen(app, ANY, unexpected);
  assert.match((await talk(listener.address, "GET /readyz HTTP/1.0\r\n\r\n")).text, /^HTTP\/1\.1 200 [^]*flanneld is ready$/);
});

test("listen() serves an app on a Unix socket of mode 0600, and removes the socket in the end", async (t) => {
  const path = join(folder(t), "s");
  const listener = await listen(app, { path }, unexpected);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.match((await talk({ path }, GET)).text, /flanneld is running$/);
  await listener.close();
  assert.deepEqual(readdirSync(join(path, "..")), []);
});

test("listen() replaces the socket of a dead process", async (t) => {
  const path = join(folder(t), "s");
  const program =
    `const s = require("node:net").createServer(); s.listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))`;
  assert.equal(spawnSync("node", ["-e", program, path]).signal, "SIGKILL");
  assert.ok(statSync(path).isSocket());
  await using _listener = await listen(app, { path }, unexpected);
  assert.match((await talk({ path }, GET)).text, /flanneld is running$/);
});

test("listen() leaves a live socket alone, and so does the close of one that was replaced", async (t) => {
  const path = join(folder(t), "s");
  const first = await listen(app, { path }, unexpected);
  await assert.rejects(listen(app, { path }, unexpected), { name: "ListenError", code: "EADDRINUSE", message: /another process/ });
  assert.deepEqual(readdirSync(join(path, "..")), ["s"]);
  rmSync(path);
  await using _second = await listen(app, { path }, unexpected);
  await first.close();
  assert.match((await talk({ path }, GET)).text, /flanneld is running$/);
});

test("listen() never deletes what is no socket", async (t) => {
  const path = join(folder(t), "precious");
  writeFileSync(path, "data");
  await assert.rejects(listen(app, { path }, unexpected), {
    code: "EEXIST",
    message: /precious: the file is there and is no socket/,
  });
  assert.equal(statSync(path).size, 4);
});

test("listen() says what is in the way of an address", async (t) => {
  await using listener = await listen(app, ANY, unexpected);
  await assert.rejects(listen(app, listener.address, unexpected), (error) => {
    assert.ok(error instanceof ListenError);
    assert.equal(error.code, "EADDRINUSE");
    assert.match(error.message, /^Cannot listen on 127\.0\.0\.1:\d+: another process listens there; stop it or choose/);
    return true;
  });
  await assert.rejects(
    listen(app, { ip: parseIp("192.0.2.1"), port: 8473 }, unexpected),
    /192\.0\.2\.1:8473: this node does not have/,
  );
  await assert.rejects(listen(app, { path: join(folder(t), "no/s") }, unexpected), { code: "ENOENT", message: /make it first/ });
  await assert.rejects(listen(app, { path: `/tmp/${"x".repeat(99)}` }, unexpected), { code: "ENAMETOOLONG" });
});

test("a client that sends its request too slowly is cut off", async () => {
  await using listener = await listen(app, ANY, unexpected, limitsOf({ patience: 300, checkEvery: 100 }));
  const trickle = (socket: ReturnType<typeof connect>) => setInterval(() => socket.write("x"), 100);
  const start = Date.now();
  await new Promise<void>((resolve) => {
    const socket = connect((listener.address as { port: number }).port, "127.0.0.1");
    socket.write("GET /healthz HTTP/1.1\r\nX: ");
    const timer = trickle(socket);
    socket.on("error", () => {});
    socket.on("data", () => {});
    socket.on("close", () => {
      clearInterval(timer);
      resolve();
    });
  });
  assert.ok(Date.now() - start < 2500, `${Date.now() - start} ms`);
});

test("a client that does not read its answer is cut off", async () => {
  const big = { fetch: () => new Response("x".repeat(32 << 20)) };
  await using listener = await listen(big, ANY, unexpected, limitsOf({ patience: 300, checkEvery: 100 }));
  const socket = connect((listener.address as { port: number }).port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(KEEP);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  let got = 0;
  await new Promise((resolve) => {
    socket.on("data", (data) => got += data.length);
    socket.on("close", resolve);
  });
  assert.ok(got < 32 << 20, `${got} bytes came`);
});

test("a connection that is kept and not used is closed", async () => {
  await using listener = await listen(app, ANY, unexpected, limitsOf({ patience: 200, checkEvery: 100 }));
  const { text, ms } = await talk(listener.address, KEEP);
  assert.match(text, /flanneld is running$/);
  assert.ok(ms < 3000, `${ms} ms`);
});

test("connections beyond the limit are closed at once, and the rest is served", async () => {
  await using listener = await listen(app, ANY, unexpected, limitsOf({ connections: 3, patience: 1000, checkEvery: 100 }));
  const answers = await Promise.all(Array.from({ length: 6 }, () => talk(listener.address, KEEP)));
  assert.equal(answers.filter(({ text }) => text.endsWith("flanneld is running")).length, 3);
  assert.match((await talk(listener.address, GET)).text, /flanneld is running$/);
});

test("headers beyond 16 KiB are refused", async () => {
  await using listener = await listen(app, ANY, unexpected);
  const { text } = await talk(listener.address, GET.replace("\r\n\r\n", `\r\nX: ${"x".repeat(40_000)}\r\n\r\n`));
  assert.doesNotMatch(text, /200 OK/);
});

test("close() lets a running request end, and does not wait for idle connections", async () => {
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const slow = {
    async fetch(): Promise<Response> {
      ask();
      await new Promise((resolve) => setTimeout(resolve, 400));
      return new Response("done");
    },
  };
  const listener = await listen(slow, ANY, unexpected);
  const answer = talk(listener.address, KEEP);
  await asked;
  const start = Date.now();
  await Promise.all([listener.close(), listener.close()]);
  assert.ok(Date.now() - start < 2000, `${Date.now() - start} ms`);
  assert.match((await answer).text, /done$/);
});

test("close() cuts off a request that outlasts the grace", async () => {
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const never = {
    fetch(): Promise<Response> {
      ask();
      return new Promise(() => {});
    },
  };
  const listener = await listen(never, ANY, unexpected, limitsOf({ grace: 200 }));
  const answer = talk(listener.address, KEEP);
  await asked;
  const start = Date.now();
  await listener.close();
  const ms = Date.now() - start;
  assert.ok(ms >= 150 && ms < 2000, `${ms} ms`);
  assert.equal((await answer).text, "");
});

test("close() while nobody is connected frees the port at once", async () => {
  const listener = await listen(app, ANY, unexpected);
  const { address } = listener;
  await listener.close();
  await using _again = await listen(app, address, unexpected);
});
