/**
 * What every driver promises, as tests: the interface of `ffi/mod.ts` on the runtime that runs them.
 *
 * The cases only read, so they may run in any network namespace.
 *
 * @module
 */

import assert from "node:assert/strict";
import { lookup } from "node:dns/promises";
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Driver, type NetlinkSocket, NetlinkSocketError, OverrunError } from "../../ffi/mod.ts";
import { until } from "../lab/command.ts";
import { sendForged } from "./foreign_socket.ts";

const ROUTE = 0;
/** Where processes speak to each other; anybody may send. */
const USERSOCK = 2;
const RTNLGRP_LINK = 1;
const RTM_NEWLINK = 16;
const NLMSG_DONE = 3;

/** RTM_GETLINK: of all devices, or of the loopback device only. */
function getLink(seq: number, what: "all" | "loopback"): Uint8Array {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, 18, true);
  view.setUint16(6, what === "all" ? 0x301 : 1, true); // NLM_F_REQUEST, NLM_F_DUMP
  view.setUint32(8, seq, true);
  if (what === "loopback") view.setInt32(20, 1, true);
  return bytes;
}

/** Types and sequence numbers of the messages in a datagram. */
function messagesOf(bytes: Uint8Array): { type: number; seq: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = [];
  for (let at = 0; at + 16 <= bytes.length; at += (view.getUint32(at, true) + 3) & ~3) {
    found.push({ type: view.getUint16(at + 4, true), seq: view.getUint32(at + 8, true) });
  }
  return found;
}

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** Watches a socket, and collects all that comes. */
function collect(socket: NetlinkSocket): { wakes: number; readonly datagrams: Uint8Array[] } {
  const seen = { wakes: 0, datagrams: [] as Uint8Array[] };
  socket.watch(() => {
    seen.wakes++;
    for (let bytes = socket.receive(); bytes !== null; bytes = socket.receive()) seen.datagrams.push(bytes);
  });
  return seen;
}

/** Declares the contract's tests for a driver. */
export function driverContract(open: () => Promise<Driver>): void {
  sendingAndReceiving(open);
  watching(open);
  closing(open);
}

function sendingAndReceiving(open: () => Promise<Driver>): void {
  test("a driver says what it is, and every socket has a port and a buffer of its own", async () => {
    const driver = await open();
    assert.equal(driver.runtime, "Bun" in globalThis ? "bun" : "deno");
    assert.match(driver.library, /^libnl-3\.so\.200$|^embedded$/);
    using one = driver.open(ROUTE);
    using other = driver.open(ROUTE);
    assert.ok(one.port > 0 && other.port > 0 && one.port !== other.port);
    assert.ok(one.receiveBuffer >= 64 * 1024);
  });

  test("what is sent is answered in the same call", async () => {
    using socket = (await open()).open(ROUTE);
    assert.equal(socket.receive(), null);
    socket.send(getLink(7, "loopback"));
    assert.deepEqual(messagesOf(socket.receive()!), [{ type: RTM_NEWLINK, seq: 7 }]);
    assert.equal(socket.receive(), null);
  });

  test("several messages in one call are all answered, in order", async () => {
    using socket = (await open()).open(ROUTE);
    const batch = new Uint8Array(32 * 5);
    for (let i = 0; i < 5; i++) batch.set(getLink(100 + i, "loopback"), 32 * i);
    socket.send(batch);
    const answers = Array.from({ length: 5 }, () => messagesOf(socket.receive(1000)!)).flat();
    assert.deepEqual(answers.map(({ seq }) => seq), [100, 101, 102, 103, 104]);
  });

  test("a dump comes whole", async () => {
    using socket = (await open()).open(ROUTE);
    socket.send(getLink(9, "all"));
    const types: number[] = [];
    while (types.at(-1) !== NLMSG_DONE) types.push(...messagesOf(socket.receive(1000)!).map(({ type }) => type));
    assert.ok(types.length > 1 && types.slice(0, -1).every((type) => type === RTM_NEWLINK));
  });

  test("receive() waits no longer than it is told, and no shorter", async () => {
    using socket = (await open()).open(ROUTE);
    const start = performance.now();
    assert.equal(socket.receive(60), null);
    const took = performance.now() - start;
    assert.ok(took >= 55 && took < 1000, `${took} ms`);
  });

  test("what was received stays as it was when more comes", async () => {
    using socket = (await open()).open(ROUTE);
    const kept: { bytes: Uint8Array; before: string }[] = [];
    for (let seq = 1; seq <= 200; seq++) {
      socket.send(getLink(seq, "loopback"));
      const bytes = socket.receive(1000)!;
      kept.push({ bytes, before: bytes.toString() });
    }
    for (const [i, { bytes, before }] of kept.entries()) {
      assert.equal(bytes.toString(), before);
      assert.equal(messagesOf(bytes)[0]!.seq, i + 1);
    }
  });

  test("joining an unknown group fails and says so; the socket goes on", async () => {
    using socket = (await open()).open(ROUTE);
    assert.throws(() => socket.join(9999), (error: Error) => {
      return error instanceof NetlinkSocketError && /^Cannot join group 9999 with the netlink socket: ./.test(error.message);
    });
    socket.join(RTNLGRP_LINK);
    socket.send(getLink(1, "loopback"));
    assert.notEqual(socket.receive(1000), null);
  });

  test("opening an unknown protocol fails, says so and leaks nothing", async () => {
    const driver = await open();
    const before = descriptors();
    assert.throws(() => driver.open(31), NetlinkSocketError);
    assert.equal(descriptors(), before);
  });

  test("what another process sends is left out", async () => {
    using socket = (await open()).open(USERSOCK);
    const seen = collect(socket);
    assert.equal(await sendForged(USERSOCK, socket.port, getLink(1, "loopback")), 32);
    await until("the watch wakes", () => seen.wakes > 0);
    assert.deepEqual(seen.datagrams, []);
    assert.equal(socket.receive(20), null);
  });

  test("an overrun is an OverrunError, once; then reading goes on", async () => {
    using socket = (await open()).open(ROUTE, { receiveBuffer: 16 * 1024 });
    assert.ok(socket.receiveBuffer < 64 * 1024, `${socket.receiveBuffer} bytes`);
    for (let seq = 1; seq <= 300; seq++) {
      try {
        socket.send(getLink(seq, "loopback"));
      } catch (error) {
        assert.ok(error instanceof NetlinkSocketError, String(error)); // the kernel may tell the sender as well
      }
    }
    let overruns = 0;
    let datagrams = 0;
    for (let more = true; more;) {
      try {
        if (socket.receive() === null) more = false;
        else datagrams++;
      } catch (error) {
        assert.ok(error instanceof OverrunError, String(error));
        overruns++;
      }
    }
    assert.equal(overruns, 1);
    assert.ok(datagrams > 0 && datagrams < 300, `${datagrams} datagrams`);
    socket.send(getLink(301, "loopback"));
    assert.equal(messagesOf(socket.receive(1000)!)[0]!.seq, 301);
  });
}

function watching(open: () => Promise<Driver>): void {
  test("a watch wakes for what comes, each time, and for what came before", async () => {
    using socket = (await open()).open(ROUTE);
    socket.send(getLink(1, "loopback"));
    const seen = collect(socket);
    await until("what came before the watch", () => seen.datagrams.length === 1);
    for (let seq = 2; seq <= 20; seq++) {
      socket.send(getLink(seq, "loopback"));
      await until(`answer ${seq}`, () => seen.datagrams.length === seq, { every: 1 });
    }
  });

  test("a watch wakes for an overrun too", async () => {
    using socket = (await open()).open(ROUTE, { receiveBuffer: 4096 });
    let overrun = false;
    socket.watch(() => {
      try {
        while (socket.receive() !== null);
      } catch (error) {
        overrun ||= error instanceof OverrunError;
      }
    });
    for (let seq = 1; seq <= 100; seq++) {
      try {
        socket.send(getLink(seq, "loopback"));
      } catch (error) {
        assert.ok(error instanceof NetlinkSocketError, String(error));
      }
    }
    await until("the overrun is seen", () => overrun);
  });

  test("a socket has one watch", async () => {
    using socket = (await open()).open(ROUTE);
    socket.watch(() => {});
    assert.throws(() => socket.watch(() => {}), TypeError);
  });

  test("one function may watch two sockets, and goes on when the first is closed", async () => {
    const driver = await open();
    let wakes = 0;
    const wake = () => wakes++;
    const first = driver.open(ROUTE);
    using second = driver.open(ROUTE);
    first.watch(wake);
    second.watch(wake);
    first[Symbol.dispose]();
    await sleep(20);
    wakes = 0;
    second.send(getLink(1, "loopback"));
    await until("the second socket wakes", () => wakes > 0);
    second.receive();
  });

  test("four idle sockets use no CPU and block neither files, names nor timers", async () => {
    const driver = await open();
    using _one = watched(driver);
    using _two = watched(driver);
    using _three = watched(driver);
    using _four = watched(driver);
    await sleep(50);
    const [cpu, start] = [process.cpuUsage(), performance.now()];
    const work = Promise.all([readFile("/proc/self/status"), readFile(import.meta.filename!), lookup("localhost"), sleep(10)]);
    assert.equal(await Promise.race([work.then(() => "done"), sleep(5000, "blocked", { ref: false })]), "done");
    await sleep(Math.max(0, 1000 - (performance.now() - start)));
    const { user, system } = process.cpuUsage(cpu);
    assert.ok((user + system) / 1000 < 250, `${(user + system) / 1000} ms of CPU in a second`);
  });
}

function watched(driver: Driver): NetlinkSocket {
  const socket = driver.open(ROUTE);
  socket.join(RTNLGRP_LINK);
  socket.watch(() => {
    while (socket.receive() !== null);
  });
  return socket;
}

function closing(open: () => Promise<Driver>): void {
  test("closing gives every descriptor back, watched or not", async () => {
    const driver = await open();
    watched(driver)[Symbol.dispose](); // what the runtime opens once
    await sleep(50);
    const before = descriptors();
    for (let i = 0; i < 20; i++) {
      using _idle = driver.open(ROUTE);
      using _watched = watched(driver);
    }
    await until("all descriptors are closed", () => descriptors() <= before, { state: () => `${descriptors()} of ${before}` });
  });

  test("watches that come and go leave no handlers behind", async () => {
    const driver = await open();
    for (let i = 0; i < 20; i++) watched(driver)[Symbol.dispose]();
    await sleep(20);
    assert.ok(process.listenerCount("SIGIO") <= 1, `${process.listenerCount("SIGIO")} handlers`);
  });

  test("closing twice is closing once, and nothing wakes any more", async () => {
    const driver = await open();
    const socket = driver.open(ROUTE);
    const seen = collect(socket);
    socket.send(getLink(1, "loopback"));
    socket[Symbol.dispose]();
    socket[Symbol.dispose]();
    const wakes = seen.wakes;
    using other = driver.open(ROUTE);
    const alive = collect(other);
    other.send(getLink(2, "loopback"));
    await until("the other socket wakes", () => alive.datagrams.length > 0);
    assert.equal(seen.wakes, wakes);
  });

  test("a socket may be closed by its own watch", async () => {
    const driver = await open();
    const before = descriptors();
    const socket = driver.open(ROUTE);
    let wakes = 0;
    socket.watch(() => {
      wakes++;
      socket[Symbol.dispose]();
    });
    socket.send(getLink(1, "loopback"));
    await until("its descriptors are closed", () => wakes > 0 && descriptors() <= before);
    assert.equal(wakes, 1);
  });

  test("a closed socket refuses to be used", async () => {
    const socket = (await open()).open(ROUTE);
    socket[Symbol.dispose]();
    const closed = { name: "NetlinkSocketError", message: "The netlink socket is closed" };
    assert.throws(() => socket.receive(), closed);
    assert.throws(() => socket.send(getLink(1, "loopback")), closed);
    assert.throws(() => socket.join(RTNLGRP_LINK), closed);
    assert.throws(() => socket.watch(() => {}), closed);
  });
}
