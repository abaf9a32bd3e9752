import { test, type TestContext } from "node:test";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseIp } from "../model/ip.ts";
import type { ListenAddress } from "../model/listen.ts";
import { createStatusApp } from "./app.ts";
import { ask, AskError } from "./client.ts";
import { listen } from "./listen.ts";
import { A1 } from "./testing.ts";

const app = createStatusApp({ report: () => A1, hosts: () => [] });
const ANY = { ip: parseIp("127.0.0.1"), port: 0 };
const unexpected = (error: Error) => assert.fail(error);

/** A server of raw bytes: what it does when a request comes. */
async function rawServer(t: TestContext, onRequest: (socket: Socket) => void): Promise<ListenAddress> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}); // the client may hang up
    socket.once("data", () => onRequest(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return { ...ANY, port: (server.address() as AddressInfo).port };
}

const reply = (status: string, body: string) =>
  `HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;

test("ask() gets JSON over a port, a Unix socket and the unspecified address", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "weft-ask-"));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const address of [ANY, { path: join(folder, "s") }, { ip: parseIp("0.0.0.0"), port: 0 }]) {
    await using listener = await listen(app, address, unexpected);
    const { text, value } = await ask(listener.address, "/v1/status");
    assert.deepEqual(JSON.parse(text), value);
    assert.equal((value as { node: string }).node, "a1");
  }
});

test("ask() says what was tried and what to do when nobody listens", async () => {
  const listener = await listen(app, ANY, unexpected);
  await listener.close();
  await assert.rejects(ask(listener.address, "/v1/status"), (error) => {
    assert.ok(error instanceof AskError);
    assert.match(
      error.message,
      /^Cannot get \/v1\/status from 127\.0\.0\.1:\d+: no agent listens there \(ECONNREFUSED\); start it, or name/,
    );
    return true;
  });
  await assert.rejects(
    ask({ path: "/nonexistent/weft.sock" }, "/v1/peers"),
    /^AskError: Cannot get \/v1\/peers from unix:\/nonexistent\/weft\.sock: no agent listens there \(ENOENT\)/,
  );
});

test("ask() gives up on a server that is silent, or stops amid its answer", async (t) => {
  const silent = await rawServer(t, () => {});
  const stuck = await rawServer(t, (socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"));
  for (const address of [silent, stuck]) {
    const start = Date.now();
    await assert.rejects(ask(address, "/v1/status", 300), /no answer within 0\.3 s; the agent hangs/);
    assert.ok(Date.now() - start < 3000);
  }
});

test("ask() refuses what is not an agent's answer", async (t) => {
  const refused: [string, RegExp][] = [
    ["SSH-2.0-OpenSSH_9.2\r\n", /if this is not an agent, name the agent's address/],
    [reply("200 OK", "<html>"), /the answer is not JSON, so something else than an agent/],
    [reply("200 OK", ""), /the answer is not JSON/],
    ["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", /Cannot get/],
    [
      reply("500 Oops", '{"error":"Cannot answer /v1/status: kernel is gone"}'),
      /the agent answered 500 \(Cannot answer .* kernel is gone\)/,
    ],
    [reply("404 Not Found", "[]"), /the agent answered 404 \(without a reason\)/],
  ];
  for (const [bytes, message] of refused) {
    const address = await rawServer(t, (socket) => socket.end(bytes));
    await assert.rejects(
      ask(address, "/v1/status", 2000),
      (error) => error instanceof AskError && message.test(error.message),
      bytes,
    );
  }
});

test("ask() stops reading an answer that does not end", async (t) => {
  const megabyte = "x".repeat(1 << 20);
  const address = await rawServer(t, (socket) => {
    socket.write("HTTP/1.1 200 OK\r\n\r\n");
    const more = () => {
      while (!socket.destroyed && socket.write(megabyte));
    };
    socket.on("drain", more);
    more();
  });
  await assert.rejects(ask(address, "/v1/peers", 20_000), /the answer is longer than 67108864 bytes/);
});
