/**
 * Members that do not answer, or not as etcd does, and answers that are too long or come in pieces; played by small servers.
 *
 * @module
 */

import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";
import { EtcdClient, TooLongError } from "./client.ts";
import { EtcdError } from "./error.ts";
import { type KeyValue, Kv } from "./kv.ts";

const NEVER = new AbortController().signal;

interface Server extends AsyncDisposable {
  readonly origin: string;
  readonly asked: { readonly path: string; readonly body: string; readonly headers: http.IncomingHttpHeaders }[];
}

async function server(answer: (body: string, response: http.ServerResponse) => void): Promise<Server> {
  const asked: Server["asked"] = [];
  const listening = http.createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (piece) => body += piece).on("end", () => {
      asked.push({ path: request.url!, body, headers: request.headers });
      answer(body, response);
    });
  });
  await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
  const { port } = listening.address() as { port: number };
  return {
    origin: `http://127.0.0.1:${port}`,
    asked,
    async [Symbol.asyncDispose]() {
      listening.closeAllConnections();
      await new Promise((resolve) => listening.close(resolve));
    },
  };
}

function client(...endpoints: readonly string[]): EtcdClient {
  const tls = { caFile: null, certFile: null, keyFile: null };
  return new EtcdClient({ endpoints, tls, user: null, userAgent: "weft/test", now: Date.now, random: () => 0 });
}

const json = (value: unknown, status = 200) => (_body: string, response: http.ServerResponse) => {
  response.writeHead(status).end(JSON.stringify(value));
};

test("a member without a leader is left for another in the middle of a call, and not asked again", async () => {
  await using lost = await server(json({ error: "etcdserver: no leader", message: "etcdserver: no leader", code: 14 }, 503));
  await using good = await server(json({ header: { revision: "7" } }));
  const it = client(lost.origin, good.origin);
  for (let i = 0; i < 2; i++) assert.deepEqual(await it.call("/v3/kv/range", {}, NEVER), { header: { revision: "7" } });
  assert.deepEqual([lost.asked.length, good.asked.length, it.origin], [1, 2, good.origin]);
  assert.equal(lost.asked[0]!.headers["grpc-metadata-hasleader"], "true");
  it.close();
});

test("a member that is silent, gone, or something else is left too; if none is better, all are told", async () => {
  await using silent = await server(() => {});
  await using web = await server((_body, response) => response.writeHead(200).end("<html>"));
  await using old = await server((_body, response) => response.writeHead(404).end("404 page not found"));
  const it = client("http://127.0.0.1:1", silent.origin, web.origin, old.origin);
  await assert.rejects(it.call("/v3/kv/range", {}, NEVER, { silence: 200 }), ({ message }: Error) => {
    assert.match(message, /^Cannot reach etcd http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/);
    assert.match(message, /no answer for 0\.2 s; What answers at .* is not etcd's: "<html>"; .*404.*it must be etcd 3\.4 or later/);
    return true;
  });
  it.close();
});

test("what every member would refuse is refused once, in etcd's own words", async () => {
  await using first = await server(json({ code: 7, message: "etcdserver: permission denied" }, 403));
  await using second = await server(json({}));
  const it = client(first.origin, second.origin);
  await assert.rejects(
    it.call("/v3/kv/range", {}, NEVER),
    (error: Error) =>
      error instanceof EtcdError && error.code === 7 &&
      /refused \/v3\/kv\/range: etcdserver: permission denied/.test(error.message),
  );
  assert.equal(second.asked.length, 0);
  it.close();
});

test("a signal cuts a call short with its reason", async () => {
  await using silent = await server(() => {});
  const it = client(silent.origin);
  const reason = new Error("enough");
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 50);
  await assert.rejects(it.call("/v3/kv/range", {}, controller.signal), (error) => error === reason);
  it.close();
});

test("messages of a stream may be cut anywhere", async () => {
  await using member = await server((_body, response) => {
    const bytes = Buffer.from(
      '{"result":{"a":"ä€"}}\n\n{"result":{"b":1}}\n{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}\n',
    );
    let at = 0;
    const next = () => at < bytes.length ? response.write(bytes.subarray(at, at += 7), () => setTimeout(next, 1)) : response.end();
    next();
  });
  const it = client(member.origin);
  const seen: unknown[] = [];
  await assert.rejects(async () => {
    for await (const message of it.stream(member.origin, "/v3/watch", "{}", NEVER, 1000)) seen.push(message);
  }, /refused \/v3\/watch: etcdserver: no leader/);
  assert.deepEqual(seen, [{ a: "ä€" }, { b: 1 }]);
  it.close();
});

/** Plays a range of keys, each with a value of so many bytes. */
function range(keys: readonly string[], size: number) {
  const encoded = (text: string) => Buffer.from(text).toString("base64");
  return (body: string, response: http.ServerResponse) => {
    const { key, limit, revision } = JSON.parse(body) as { key: string; limit: number; revision: number };
    const from = Buffer.from(key, "base64").toString();
    const left = keys.filter((it) => it >= from);
    const kvs = left.slice(0, limit).map((it) => ({ key: encoded(it), value: encoded("x".repeat(size)), mod_revision: "3" }));
    response.end(JSON.stringify({ header: { cluster_id: "1", revision: String(revision || 9) }, kvs, more: left.length > limit }));
  };
}

test("a long range is read in pages, all as of the first one's revision; huge values make the pages smaller", async () => {
  const keys = Array.from({ length: 5001 }, (_, i) => `k/${String(i).padStart(5, "0")}`);
  await using member = await server(range(keys, 10));
  const it = client(member.origin);
  const found: KeyValue[] = [];
  const header = await new Kv(it).list({ from: "k/", to: "k0" }, (kv) => found.push(kv), NEVER);
  assert.deepEqual(found.map(({ key }) => key), keys);
  assert.deepEqual([header, member.asked.map(({ body }) => JSON.parse(body).revision)], [{ cluster: "1", revision: 9 }, [0, 9, 9]]);
  it.close();

  await using huge = await server(range(keys.slice(0, 40), 300_000));
  const other = client(huge.origin);
  const sizes: number[] = [];
  await new Kv(other).list({ from: "k/", to: "k0" }, ({ value }) => sizes.push(value.length), NEVER);
  assert.deepEqual(sizes, Array(40).fill(300_000));
  assert.ok(huge.asked.length > 2, "smaller pages were asked for");
  await assert.rejects(other.call("/v3/kv/range", { key: "", limit: 40 }, NEVER, { bytes: 1_000_000 }), TooLongError);
  other.close();
});

test("keys that are no text, or long, are shown so that no two look alike", async () => {
  const keys = [
    Buffer.from([0x2f, 0xff]),
    Buffer.from([0x2f, 0xfe]),
    Buffer.from("/ä"),
    Buffer.alloc(1000, "a"),
    Buffer.alloc(1001, "a"),
  ];
  await using member = await server(json({ header: {}, kvs: keys.map((key) => ({ key: key.toString("base64") })) }));
  const it = client(member.origin);
  const found: string[] = [];
  await new Kv(it).list({ from: "/", to: "0" }, ({ key }) => found.push(key), NEVER);
  assert.equal(new Set(found).size, 5);
  assert.equal(found[2], "/ä");
  assert.ok(found.every((key) => key.length < 450));
  it.close();
});
