/**
 * Requests whose answers do not come as they should, and the connections they leave behind.
 *
 * @module
 */

import assert from "node:assert/strict";
import http from "node:http";
import type { Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Credentials } from "./access.ts";
import { ApiError } from "./api_error.ts";
import { HttpClient, type HttpOptions } from "./http.ts";

interface Bed extends AsyncDisposable {
  readonly client: HttpClient;
  /** Connections that are open at the server, and how many there ever were. */
  readonly sockets: Set<Socket>;
  readonly ever: () => number;
  readonly refused: () => number;
}

async function bed(handle: http.RequestListener, given: Partial<HttpOptions> = {}): Promise<Bed> {
  const sockets = new Set<Socket>();
  let ever = 0, refused = 0;
  const server = http.createServer(handle).on("connection", (socket) => {
    ever++;
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const credentials: Credentials = {
    access: () =>
      Promise.resolve({ url: new URL(`http://127.0.0.1:${port}/base/`), tls: {}, headers: { authorization: "Bearer t" } }),
    refused: () => void refused++,
  };
  const client = new HttpClient({ credentials, userAgent: "weft/test", ...given });
  return {
    client,
    sockets,
    ever: () => ever,
    refused: () => refused,
    async [Symbol.asyncDispose]() {
      client.close();
      sockets.forEach((socket) => socket.destroy());
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const NEVER = new AbortController().signal;
const GET = { method: "GET", path: "/x?y=1", accept: "text/plain" } as const;

async function read(body: AsyncIterable<Uint8Array>): Promise<string> {
  let text = "";
  for await (const piece of body) text += new TextDecoder().decode(piece);
  return text;
}

test("a request has the server's own path before it, and says who asks and for what", async () => {
  let seen: http.IncomingMessage | null = null;
  await using it = await bed((request, response) => {
    seen = request;
    response.end("hello");
  });
  assert.equal(await read(await it.client.request(GET, NEVER)), "hello");
  const { url, headers } = seen!;
  assert.equal(url, "/base/x?y=1");
  assert.deepEqual([headers.authorization, headers["user-agent"], headers.accept, headers["accept-encoding"]], [
    "Bearer t",
    "weft/test",
    "text/plain",
    "identity",
  ]);
});

test("a patch has its type and its length, in bytes", async () => {
  let told = "";
  await using it = await bed((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (piece) => text += piece).on("end", () => {
      told = `${request.method} ${request.headers["content-type"]} ${request.headers["content-length"]} ${text}`;
      response.end();
    });
  });
  await read(await it.client.request({ ...GET, method: "PATCH", body: { type: "a/b", text: "ü" } }, NEVER));
  assert.equal(told, "PATCH a/b 2 ü");
});

test("short requests share a connection, a stream has its own and closes it", async () => {
  await using it = await bed((_, response) => void response.end("x"));
  for (let i = 0; i < 3; i++) await read(await it.client.request(GET, NEVER));
  assert.equal(it.ever(), 1);
  await read(await it.client.request({ ...GET, stream: true }, NEVER));
  assert.equal(it.ever(), 2);
  await sleep(100);
  assert.equal(it.sockets.size, 1);
});

for (const where of ["head", "body"] as const) {
  const handle: http.RequestListener = (_, response) => {
    if (where === "body") response.write("beginning");
  };

  test(`a server that is silent before the end of the ${where} is an error, and its connections are closed`, async () => {
    await using it = await bed(handle);
    const start = performance.now();
    const asked = async () => read(await it.client.request({ ...GET, silence: 200 }, NEVER));
    await assert.rejects(asked, /^Error: Cannot reach the API server http:\/\/127\.0\.0\.1:\d+: no answer for 0\.2 s$/);
    assert.ok(performance.now() - start < 2000);
    await sleep(100);
    assert.equal(it.sockets.size, 0);
  });

  test(`a request that is cut short while it waits for the ${where} ends with the signal's reason, at once`, async () => {
    await using it = await bed(handle);
    const controller = new AbortController();
    const reason = new Error("enough");
    const asked = (async () => read(await it.client.request(GET, controller.signal)))();
    setTimeout(() => controller.abort(reason), 100);
    await assert.rejects(asked, (error) => error === reason);
    await sleep(100);
    assert.equal(it.sockets.size, 0);
  });
}

test("a body of which nobody reads the rest is given up", async () => {
  await using it = await bed((_, response) => {
    const timer = setInterval(() => response.write("x".repeat(1000)), 5);
    response.on("close", () => clearInterval(timer));
  });
  for await (const _ of await it.client.request({ ...GET, stream: true }, NEVER)) break;
  await sleep(200);
  assert.equal(it.sockets.size, 0);
});

test("a body that is cut is an error, also where its length was not told", async () => {
  await using it = await bed((_, response) => {
    response.write("beginning");
    setTimeout(() => response.destroy(), 20);
  });
  await assert.rejects(async () => read(await it.client.request(GET, NEVER)), /Cannot reach the API server/);
});

test("a server that is not there is an error with its address", async () => {
  const it = await bed(() => {});
  await it[Symbol.asyncDispose]();
  await assert.rejects(
    it.client.request(GET, NEVER),
    /^Error: Cannot reach the API server http:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/,
  );
});

test("after one connection failed, those beside it are not used again either", async () => {
  const ports: (number | undefined)[] = [];
  await using it = await bed(({ socket }, response) => {
    if (ports.push(socket.remotePort) !== 3) setTimeout(() => response.end(String(socket.remotePort)), 50);
  });
  const ask = async () => read(await it.client.request({ ...GET, silence: 300 }, NEVER));
  await Promise.all([ask(), ask()]);
  await assert.rejects(ask, /no answer/);
  const before = ports.slice(0, 3);
  assert.ok(!before.includes(Number(await ask())));
});

for (
  const [status, body, says] of [
    [
      403,
      '{"kind":"Status","message":"nodes is forbidden"}',
      /refused GET \/x with 403: nodes is forbidden; give this user the ClusterRole/,
    ],
    [401, "Unauthorized", /refused GET \/x with 401: Unauthorized; check the token or client certificate/],
    [502, "<html>bad\ngateway</html>", /refused GET \/x with 502: <html>bad\\u\{a\}gateway<\/html>$/],
    [500, "{", /refused GET \/x with 500: no reason given$/],
    [503, "y".repeat(1_000_000), /refused GET \/x with 503: y{120}\.\.\.$/],
    [302, "", /refused GET \/x with 302: no reason given$/],
  ] as const
) {
  test(`an answer with ${status} is an error with what the server said`, async () => {
    await using it = await bed((_, response) => void response.writeHead(status).end(body));
    await assert.rejects(
      it.client.request(GET, NEVER),
      (error) => error instanceof ApiError && error.status === status && says.test(error.message),
    );
    assert.equal(it.refused(), status === 401 ? 1 : 0);
  });
}

for (
  const [header, body, seconds] of [["7", "", 7], [undefined, '{"details":{"retryAfterSeconds":9}}', 9], ["86400", "", 60], [
    "soon",
    "",
    null,
  ]] as const
) {
  test(`Retry-After ${header ?? "in the body"} is ${seconds} s`, async () => {
    await using it = await bed((_, response) =>
      void response.writeHead(429, header === undefined ? {} : { "retry-after": header }).end(body)
    );
    await assert.rejects(it.client.request(GET, NEVER), (error) => error instanceof ApiError && error.retryAfter === seconds);
  });
}

test("memory is given back after about every 2 MB, and at the end of a large answer", async () => {
  let collected = 0;
  await using it = await bed((_, response) => void response.end("x".repeat(7 * 1024 * 1024)), { collect: () => void collected++ });
  await read(await it.client.request(GET, NEVER));
  assert.ok(collected >= 3 && collected <= 4, String(collected));
  assert.equal(it.client.bytesRead, 7 * 1024 * 1024);
});

test("a slow reader slows the server", async () => {
  const total = 50 * 1024 * 1024;
  let sent = 0;
  await using it = await bed((_, response) => {
    const piece = "x".repeat(64 * 1024);
    const more = () => {
      while (sent < total && !response.destroyed) {
        sent += piece.length;
        if (!response.write(piece)) return void response.once("drain", more);
      }
    };
    more();
  });
  for await (const _ of await it.client.request({ ...GET, stream: true }, NEVER)) {
    await sleep(700);
    break;
  }
  assert.ok(sent < total / 2, `${sent} bytes were taken although one piece was read`);
});
