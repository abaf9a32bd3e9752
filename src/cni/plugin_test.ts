import assert from "node:assert/strict";
import { test } from "node:test";
import { withBed } from "./testing.ts";

test("every command answers malformed standard input with an error object", () =>
  withBed(async (bed) => {
    for (const command of ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]) {
      for (const text of ["{", "[]", "\0", '{"cniVersion":1}']) {
        const { code, json } = await bed.run(command, text);
        assert.deepEqual([code, json.code, json.cniVersion], [1, 6, "1.1.0"], `${command} ${text}`);
      }
    }
    assert.deepEqual([bed.calls, bed.files()], [[], []]);
  }));

test("VERSION names all versions, and the one it was asked in", () =>
  withBed(async (bed) => {
    const supportedVersions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    assert.deepEqual((await bed.run("VERSION", '{"cniVersion":"0.4.0"}')).json, { cniVersion: "0.4.0", supportedVersions });
    assert.deepEqual((await bed.run("VERSION", "\n")).json, { cniVersion: "1.1.0", supportedVersions });
  }));

test("a delegate's standard error is passed on", () =>
  withBed(async (bed) => {
    bed.answers["ADD"] = [{ stderr: "a warning\n" }];
    await bed.run("ADD");
    assert.equal(bed.stderr, "a warning\n");
  }));
