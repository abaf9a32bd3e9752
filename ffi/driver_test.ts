import assert from "node:assert/strict";
import { test } from "node:test";
import { driverContract } from "../test/contracts/driver.ts";
import { openDriver } from "./mod.ts";
import { missingLibc, missingLibrary } from "./socket.ts";

driverContract(openDriver);

test("what can not be loaded is named, with the remedy and the cause", () => {
  const cause = new Error("no such file");
  assert.match(missingLibrary(cause).message, /^Cannot load libnl-3\.so\.200: install libnl 3 \(.*apt-get install libnl-3-200/);
  assert.equal(missingLibrary(cause).cause, cause);
  assert.match(missingLibc(cause).message, /^Cannot load libc\.so\.6: Weft needs a Linux with glibc on x64 or arm64$/);
});
