import { test } from "node:test";
import assert from "node:assert/strict";
import { namesThisNode } from "./host.ts";

const own = ["Node-1", "192.0.2.7", "2001:db8::7"];

test("namesThisNode() accepts loopback names and the node's own ones in any spelling", () => {
  for (
    const header of [
      "localhost",
      "localhost:8473",
      "LocalHost.",
      "127.0.0.1:8473",
      "127.8.9.1",
      "[::1]",
      "[::1]:8473",
      "[0:0:0:0:0:0:0:1]:1",
      "node-1:8473",
      "NODE-1.",
      "192.0.2.7:8473",
      "[2001:DB8:0::7]:8473",
    ]
  ) assert.ok(namesThisNode(header, own), header);
});

test("namesThisNode() refuses foreign, malformed and missing names", () => {
  for (
    const header of [
      undefined,
      "",
      ":8473",
      "evil.example",
      "localhost.evil.example",
      "127.0.0.1.evil.example:8473",
      "node-10",
      "192.0.2.8",
      "2130706433",
      "0.0.0.0",
      "[::]",
      "::1",
      "[::1",
      "[localhost]",
      "localhost:8473, evil.example",
      "localhost:",
      "localhost:123456",
      "localhost..",
    ]
  ) assert.ok(!namesThisNode(header, own), String(header));
});
