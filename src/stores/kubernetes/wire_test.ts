/**
 * What a real API server sent, taken apart; and the same cut in half, or with something else in it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { envelope, eventBytes, listBytes, message, statusBytes, varint } from "../../../test/kubernetes/bytes.ts";
import { INITIAL_EVENTS_END, LIST, METADATA_LIST, METADATA_WATCH, REFUSED_STREAM } from "../../../test/kubernetes/captured.ts";
import { annotationNames } from "./annotations.ts";
import { ByteReader } from "./byte_reader.ts";
import { type NodeObject, readNode } from "./node.ts";
import { ProtobufError } from "./protobuf.ts";
import { openEnvelope, readList, readStatus, readWatch } from "./wire.ts";

const NAMES = annotationNames("flannel.alpha.coreos.com");

async function* inPieces(bytes: Uint8Array, size = 50) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function listed(bytes: Uint8Array) {
  const nodes: NodeObject[] = [];
  const meta = await readList(
    new ByteReader(inPieces(bytes)),
    (item, kind) => nodes.push(readNode(item, kind === "NodeList", NAMES)),
  );
  return { nodes, meta };
}

async function watched(bytes: Uint8Array) {
  const events: [string, string, NodeObject][] = [];
  for await (const { type, object } of readWatch(new ByteReader(inPieces(bytes)))) {
    events.push([type, object.kind, readNode(object.message, object.kind === "Node", NAMES)]);
  }
  return events;
}

const ANNOTATIONS = {
  "kube-subnet-manager": "true",
  "backend-type": "vxlan",
  "backend-data": '{"VNI":1,"VtepMAC":"12:c6:00:00:00:01"}',
  "public-ip": "192.168.100.1",
  "backend-v6-data": "null",
  "public-ipv6": "2001:db8::1",
};

test("a captured list gives the node's names, annotations and pod subnets", async () => {
  const { nodes, meta } = await listed(LIST);
  assert.match(meta.version, /^\d+$/);
  assert.equal(meta.next, "");
  const [node, ...others] = nodes;
  assert.equal(others.length, 0);
  assert.match(node!.uid, /^[0-9a-f-]{36}$/);
  assert.deepEqual([node!.name, node!.annotations, node!.podCidrs], ["node-1", ANNOTATIONS, [
    "10.244.1.0/24",
    "fd00:244:0:1::/64",
  ]]);
});

test("a captured list of metadata gives the same, but no pod subnets", async () => {
  const [whole, metadata] = [(await listed(LIST)).nodes, (await listed(METADATA_LIST)).nodes];
  assert.deepEqual(metadata, whole.map((node) => ({ ...node, podCidrs: null })));
});

test("a captured watch tells what changed, and what is gone", async () => {
  const events = await watched(METADATA_WATCH);
  const seen = events.map(([type, kind, { name, annotations }]) => [type, kind, name, annotations["public-ip"]]);
  assert.deepEqual(seen, [
    ["MODIFIED", "PartialObjectMetadata", "node-1", "192.168.100.2"],
    ["DELETED", "PartialObjectMetadata", "node-1", "192.168.100.2"],
  ]);
});

test("a captured bookmark says that the initial events are over", async () => {
  const [[type, kind, node]] = await watched(INITIAL_EVENTS_END) as [[string, string, NodeObject]];
  assert.deepEqual([type, kind, node.endsInitialEvents, /^\d+$/.test(node.version)], ["BOOKMARK", "Node", true, true]);
});

test("a captured refusal inside a watch is a status", async () => {
  const [event] = await Array.fromAsync(readWatch(new ByteReader(inPieces(REFUSED_STREAM, 1e6))));
  assert.equal(event!.type, "ERROR");
  const { code, message } = readStatus(event!.object.message);
  assert.deepEqual([code, /RequestWatchProgress is disabled/.test(message)], [500, true]);
});

test("a status in an envelope says how long to wait", () => {
  const { kind, message } = openEnvelope(statusBytes(429, "TooManyRequests", "slowly", 7));
  assert.deepEqual([kind, readStatus(message)], ["Status", { code: 429, message: "slowly", retryAfterSeconds: 7 }]);
});

for (const [what, bytes, read] of [["list", LIST, listed], ["watch", METADATA_WATCH, watched]] as const) {
  test(`a captured ${what} that is cut anywhere is an error, or ends between two of its parts`, async () => {
    let clean = 0;
    for (let end = 0; end < bytes.length; end += 7) {
      try {
        await read(bytes.subarray(0, end));
        clean++;
      } catch (error) {
        assert.ok(error instanceof ProtobufError, String(error));
      }
    }
    assert.ok(clean <= 2, `${clean} ends are between events, or cut only the empty fields behind the list`);
  });
}

for (
  const [what, bytes] of [
    ["JSON", Buffer.from('{"kind":"NodeList","items":[]}')],
    ["an object that is no list", envelope("Status", message([1, "x"]))],
    [
      "an item that goes beyond its list",
      Buffer.concat([Buffer.from("k8s\0"), message([1, message([2, "NodeList"])]), Buffer.of(0x12, 3, 0x12), varint(9)]),
    ],
    ["a list without an end", listBytes([], "5", { whole: true }).subarray(0, 8)],
    ["nothing", Buffer.alloc(0)],
  ] as const
) {
  test(`${what} in place of a list is an error`, () => assert.rejects(listed(bytes), ProtobufError));
}

for (
  const [what, bytes] of [
    ["an event without an object", eventBytes("ADDED", Buffer.alloc(0))],
    ["an object in JSON", eventBytes("ADDED", Buffer.from("{}{}"))],
    ["an event of 4 GB", Buffer.alloc(8, 0xff)],
  ] as const
) {
  test(`${what} in a watch is an error`, () => assert.rejects(watched(bytes), ProtobufError));
}
