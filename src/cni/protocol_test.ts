import assert from "node:assert/strict";
import { test } from "node:test";
import { checkVersion, CniError, errorObject, readParameters, VERSIONS } from "./protocol.ts";

const FULL = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_NETNS: "/n", CNI_IFNAME: "eth0", CNI_PATH: "/a::/b" };

test("readParameters() reads the attachment and the search path", () => {
  const expected = { command: "ADD", attachment: { containerId: "c1", ifname: "eth0" }, path: ["/a", "/b"] };
  assert.deepEqual(readParameters(FULL), expected);
});

test("readParameters() asks of each command only what it needs", () => {
  const { CNI_NETNS: _, ...withoutNamespace } = FULL;
  assert.equal(readParameters({ ...withoutNamespace, CNI_COMMAND: "DEL" }).command, "DEL");
  assert.equal(readParameters({ CNI_COMMAND: "GC", CNI_PATH: "/a" }).attachment, null);
  assert.equal(readParameters({ CNI_COMMAND: "STATUS", CNI_PATH: "/a", CNI_IFNAME: "" }).attachment, null);
  assert.deepEqual(readParameters({ CNI_COMMAND: "VERSION" }), { command: "VERSION", attachment: null, path: [] });
});

for (
  const [change, message] of [
    [{ CNI_COMMAND: undefined }, /CNI_COMMAND is missing/],
    [{ CNI_COMMAND: "add" }, /CNI_COMMAND is "add", must be one of ADD, DEL/],
    [{ CNI_COMMAND: "toString" }, /CNI_COMMAND is "toString"/],
    [{ CNI_CONTAINERID: "", CNI_IFNAME: undefined }, /variables CNI_CONTAINERID, CNI_IFNAME are missing/],
    [{ CNI_COMMAND: "CHECK", CNI_NETNS: "" }, /CNI_NETNS are missing/],
    [{ CNI_COMMAND: "GC", CNI_PATH: "" }, /CNI_PATH are missing/],
    [{ CNI_CONTAINERID: "../../etc/passwd" }, /CNI_CONTAINERID "\.\.\/\.\.\/etc\/passwd" is invalid/],
    [{ CNI_CONTAINERID: ".hidden" }, /CNI_CONTAINERID/],
    [{ CNI_CONTAINERID: "a:b" }, /CNI_CONTAINERID/],
    [{ CNI_CONTAINERID: "a\nb" }, /CNI_CONTAINERID/],
    [{ CNI_CONTAINERID: "ä" }, /CNI_CONTAINERID/],
    [{ CNI_CONTAINERID: "a".repeat(201) }, /CNI_CONTAINERID/],
    [{ CNI_IFNAME: "." }, /CNI_IFNAME/],
    [{ CNI_IFNAME: ".." }, /CNI_IFNAME/],
    [{ CNI_IFNAME: "a/b" }, /CNI_IFNAME/],
    [{ CNI_IFNAME: "a:b" }, /CNI_IFNAME/],
    [{ CNI_IFNAME: "a b" }, /CNI_IFNAME/],
    [{ CNI_IFNAME: "a\u00a0b" }, /CNI_IFNAME/],
    [{ CNI_IFNAME: "ä".repeat(8) }, /CNI_IFNAME/],
  ] as const
) {
  test(`readParameters() refuses ${JSON.stringify(change)}`, () => {
    assert.throws(() => readParameters({ ...FULL, ...change }), { code: 4, message });
  });
}

test("readParameters() takes names as long as they may be", () => {
  const attachment = { containerId: `a${"-".repeat(199)}`, ifname: "x".repeat(15) };
  assert.deepEqual(
    readParameters({ ...FULL, CNI_CONTAINERID: attachment.containerId, CNI_IFNAME: attachment.ifname }).attachment,
    attachment,
  );
});

test("checkVersion() takes every version that knows the command, and empty for 0.1.0", () => {
  for (const version of ["", ...VERSIONS]) checkVersion(version, "ADD", "0.1.0");
  checkVersion("0.4.0", "CHECK", "0.4.0");
  assert.throws(() => checkVersion("0.3.1", "CHECK", "0.4.0"), { code: 1, message: /"0\.3\.1" has no CHECK/ });
  assert.throws(() => checkVersion("", "GC", "1.1.0"), { code: 1, message: /"0\.1\.0" has no GC/ });
  for (const version of ["1.2.0", "1.1", "v1.0.0", "x"]) assert.throws(() => checkVersion(version, "ADD", "0.1.0"), { code: 1 });
});

test("errorObject() gives the own error, or a delegate's as it is", () => {
  assert.equal(errorObject(new CniError(7, "m"), "1.0.0"), '{"cniVersion":"1.0.0","code":7,"msg":"m"}');
  assert.equal(errorObject(new CniError(7, "m", "d"), "1.0.0"), '{"cniVersion":"1.0.0","code":7,"msg":"m","details":"d"}');
  const foreign = { cniVersion: "0.4.0", code: 123, msg: "own", details: "", extra: true };
  assert.equal(errorObject(new CniError(123, "own", "", foreign), "1.0.0"), JSON.stringify(foreign));
});
