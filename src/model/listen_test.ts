import { test } from "node:test";
import assert from "node:assert/strict";
import { parseListen, renderListen } from "./listen.ts";

test("parseListen() reads addresses of both families and Unix sockets, and renderListen() writes them back", () => {
  for (
    const text of ["127.0.0.1:8473", "0.0.0.0:0", "[::1]:8473", "[2001:db8::1]:65535", "unix:/run/weft/status.sock", "unix:/a:1"]
  ) {
    assert.equal(renderListen(parseListen(text)!), text);
  }
  assert.deepEqual(parseListen("[2001:DB8:0::1]:80"), { ip: "2001:db8::1", port: 80 });
  assert.equal(parseListen("off"), null);
});

test("parseListen() refuses anything else, and says what is allowed", () => {
  for (
    const text of [
      "",
      "8473",
      ":8473",
      "127.0.0.1",
      "127.0.0.1:",
      "127.0.0.1:65536",
      "127.0.0.1:+1",
      "127.0.0.1:1e3",
      "localhost:8473",
      "::1:8473",
      "[::1]",
      "[127.0.0.1]:80",
      "unix:",
      "unix:run/x",
      "unix:/",
      "unix:/run/",
      "unix:/a\0b",
      "OFF",
      "http://127.0.0.1:80",
    ]
  ) {
    assert.throws(
      () => parseListen(text),
      { name: "SyntaxError", message: /is not ip:port, \[ip\]:port, unix:\/path or off/ },
      text,
    );
  }
});
