import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { listState, readState, removeState, writeState } from "./state.ts";

const [ETH0, NET1] = [{ containerId: "c1", ifname: "eth0" }, { containerId: "c1", ifname: "net1" }];

function inFolder(body: (dir: string) => void): void {
  const folder = fs.mkdtempSync(join(tmpdir(), "weft-state-"));
  try {
    body(join(folder, "data/dir"));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

const modeOf = (path: string) => fs.statSync(path).mode & 0o777;

test("writeState() makes a folder and a file that only their owner can read, and leaves no draft", () =>
  inFolder((dir) => {
    writeState(dir, ETH0, "one");
    assert.equal(modeOf(dir), 0o700);
    assert.equal(modeOf(join(dir, "c1:eth0")), 0o600);
    assert.deepEqual(fs.readdirSync(dir).sort(), ["c1", "c1:eth0"]);
    assert.deepEqual(readState(dir, ETH0), { text: "one", byFlannel: false });
  }));

test("writeState() replaces the file, and with it the one that flannel's plugin reads", () =>
  inFolder((dir) => {
    writeState(dir, ETH0, "one");
    writeState(dir, ETH0, "two");
    assert.equal(fs.readFileSync(join(dir, "c1"), "utf8"), "two");
    assert.deepEqual(readState(dir, ETH0), { text: "two", byFlannel: false });
  }));

test("writeState() keeps two interfaces of one container apart", () =>
  inFolder((dir) => {
    writeState(dir, ETH0, "one");
    writeState(dir, NET1, "two");
    assert.equal(fs.readFileSync(join(dir, "c1"), "utf8"), "one");
    removeState(dir, ETH0);
    assert.equal(readState(dir, ETH0), null);
    assert.deepEqual(readState(dir, NET1), { text: "two", byFlannel: false });
    removeState(dir, NET1);
    assert.deepEqual(fs.readdirSync(dir), []);
  }));

test("readState() does not take the other interface's file for flannel's", () =>
  inFolder((dir) => {
    writeState(dir, ETH0, "one");
    assert.equal(readState(dir, NET1), null);
    removeState(dir, NET1);
    assert.deepEqual(readState(dir, ETH0), { text: "one", byFlannel: false });
    assert.deepEqual(fs.readdirSync(dir).sort(), ["c1", "c1:eth0"]);
  }));

test("readState() and removeState() know what flannel's plugin left", () =>
  inFolder((dir) => {
    fs.mkdirSync(dir, { recursive: true });
    fs.writeFileSync(join(dir, "c1"), "flannel's");
    assert.deepEqual(readState(dir, ETH0), { text: "flannel's", byFlannel: true });
    assert.deepEqual(listState(dir), [{ containerId: "c1", ifname: null, text: "flannel's" }]);
    removeState(dir, ETH0);
    assert.deepEqual(fs.readdirSync(dir), []);
    removeState(dir, ETH0);
  }));

test("writeState() leaves flannel's file of another interface alone", () =>
  inFolder((dir) => {
    fs.mkdirSync(dir, { recursive: true });
    fs.writeFileSync(join(dir, "c1"), "flannel's");
    writeState(dir, NET1, "ours");
    assert.deepEqual(readState(dir, ETH0), { text: "flannel's", byFlannel: true });
    removeState(dir, NET1);
    assert.deepEqual(readState(dir, ETH0), { text: "flannel's", byFlannel: true });
  }));

test("listState() names each attachment once, and no drafts or folders", () =>
  inFolder((dir) => {
    assert.deepEqual(listState(dir), []);
    writeState(dir, ETH0, "one");
    writeState(dir, NET1, "two");
    fs.writeFileSync(join(dir, ".c2:eth0"), "a draft");
    fs.mkdirSync(join(dir, "folder"));
    assert.deepEqual(listState(dir).sort((a, b) => a.text < b.text ? -1 : 1), [{ ...ETH0, text: "one" }, { ...NET1, text: "two" }]);
  }));

test("writeState() says what it could not write, and leaves no draft", () =>
  inFolder((dir) => {
    fs.mkdirSync(join(dir, "c1:eth0"), { recursive: true });
    assert.throws(() => writeState(dir, ETH0, "one"), { code: 5, message: /Cannot write the state of attachments ".*c1:eth0": E/ });
    assert.deepEqual(fs.readdirSync(dir), ["c1:eth0"]);
  }));

test("writeState() says why where the folder can not be made", () =>
  inFolder((dir) => {
    fs.mkdirSync(join(dir, ".."), { recursive: true });
    fs.writeFileSync(dir, "a file");
    assert.throws(() => writeState(dir, ETH0, "one"), { code: 5, message: /EEXIST|ENOTDIR/ });
  }));
