/**
 * The netlink connection against the kernel: answers, dumps, events and what happens when buffers are full.
 *
 * ```
 *   n0 ── n1     a pair of veth devices in the lab's own network
 * ```
 *
 * @module
 */

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { type Driver, openDriver } from "../../ffi/mod.ts";
import { cidrOf, type Ip, ipOf, parseCidr, parseIp } from "../../src/model/ip.ts";
import { Connection } from "../../src/netlink/connection.ts";
import { AnswerLostError, FLAG, NetlinkError, request } from "../../src/netlink/frame.ts";
import { type Event, subscribe } from "../../src/netlink/subscription.ts";
import { ADDRESS, AF, GROUP, LINK, NEIGHBOUR, NETCONF, NEXTHOP, ROUTE, RTM, TABLE_MAIN, UNICAST } from "../../src/netlink/rtnl.ts";
import { labTest } from "./case.ts";
import { Daemon, run, until } from "./command.ts";
import { insideLab } from "./enter.ts";
import { runtimeCommand } from "./paths.ts";

let driver: Driver;
let connection: Connection;
let n0 = 0;

before(async () => {
  if (!insideLab()) return;
  driver = await openDriver();
  connection = new Connection(driver);
  await ip(
    "link add n0 type veth peer name n1",
    "addr add 192.0.2.1/24 dev n0",
    "addr add 2001:db8::1/64 dev n0 nodad",
    "link set n0 up",
    "link set n1 up",
  );
  n0 = connection.dump(request(RTM.GETLINK, 0, LINK, {}), LINK).values.find(({ name }) => name === "n0")!.index!;
});

after(() => insideLab() && connection[Symbol.dispose]());

async function ip(...lines: readonly string[]): Promise<void> {
  await run(["ip", "-batch", "-"], { input: lines.join("\n") });
}

function subnet(i: number) {
  return cidrOf(ipOf(0x0a000000n + BigInt(i << 8), 4), 24);
}

function route(i: number, more: { readonly gateway?: Ip; readonly protocol?: number } = {}) {
  const { gateway = parseIp("192.0.2.2"), protocol = 87 } = more;
  return { family: AF.INET, dstLength: 24, table: TABLE_MAIN, protocol, type: UNICAST, dst: subnet(i), oif: n0, gateway };
}

const add = (i: number, gateway?: Ip) =>
  request(RTM.NEWROUTE, FLAG.CREATE | FLAG.EXCL, ROUTE, route(i, gateway === undefined ? {} : { gateway }));
const remove = (i: number) => request(RTM.DELROUTE, 0, ROUTE, route(i));

/** Our routes as the kernel holds them. */
function routes(filter: { readonly protocol?: number; readonly table?: number } = { protocol: 87 }) {
  const dump = connection.dump(request(RTM.GETROUTE, 0, ROUTE, { family: AF.INET, ...filter }), ROUTE);
  assert.ok(dump.complete);
  return dump.values;
}

labTest("2,000 requests of which every third fails: exactly those are reported, with the kernel's words", () => {
  const wrong = parseIp("198.51.100.1"); // not on any segment
  const requests = Array.from({ length: 2000 }, (_, i) => add(i, i % 3 === 2 ? wrong : undefined));
  const results = connection.send(requests);
  assert.equal(results.length, 2000);
  for (const [i, result] of results.entries()) {
    if (i % 3 !== 2) assert.equal(result, null, `${i}`);
    else {
      assert.ok(result instanceof NetlinkError, `${i}`);
      assert.deepEqual([result.code, result.errno, result.kernelText], ["ENETUNREACH", 101, "Nexthop has invalid gateway"]);
      assert.equal(result.message, "ENETUNREACH: Nexthop has invalid gateway");
    }
  }
  assert.equal(routes().length, 2000 - 666);
  const removed = connection.send(Array.from({ length: 2000 }, (_, i) => remove(i)));
  assert.deepEqual(removed.map((error) => (error as NetlinkError | null)?.code ?? null), results.map((error) => error && "ESRCH"));
  assert.equal(routes().length, 0);
});

labTest("the last request of a batch may be the failing one, and an empty batch is nothing", () => {
  assert.deepEqual(connection.send([]), []);
  for (const count of [1, connection.batch - 1, connection.batch, connection.batch + 1]) {
    const results = connection.send(Array.from({ length: count }, () => remove(9999)));
    assert.equal(results.length, count);
    assert.ok(results.every((error) => error instanceof NetlinkError && error.code === "ESRCH"), `${count}`);
  }
});

labTest("an error without words has its name only", () => {
  const [error] = connection.send([request(RTM.DELLINK, 0, LINK, { index: 0x7ffffff })]);
  assert.ok(error instanceof NetlinkError);
  assert.equal(error.code, "ENODEV");
  assert.equal(error.message, error.kernelText === null ? "ENODEV" : `ENODEV: ${error.kernelText}`);
});

labTest("questions are answered each by its own, failures among them", () => {
  const ask = (address: string) => request(RTM.GETROUTE, 0, ROUTE, { family: AF.INET, dstLength: 32, dst: parseIp(address) });
  const addresses = Array.from({ length: 1500 }, (_, i) => i % 5 === 4 ? `203.0.113.${i % 250}` : `192.0.2.${1 + i % 250}`);
  const answers = connection.ask(addresses.map(ask), ROUTE);
  for (const [i, answer] of answers.entries()) {
    if (i % 5 === 4) assert.ok(answer instanceof NetlinkError && answer.code === "ENETUNREACH", `${i}: ${JSON.stringify(answer)}`);
    else {
      assert.ok(!(answer instanceof Error), String(answer));
      assert.equal(answer.dst, addresses[i]);
    }
  }
});

labTest("answers that do not fit the receive buffer are lost for certain, never taken for success", () => {
  // A batch sized for a large buffer, on a socket that holds little: its own size of batch is then too large on purpose.
  const small: Driver = { ...driver, open: (protocol) => boasting(driver.open(protocol, { receiveBuffer: 8192 })) };
  using tight = new Connection(small);
  const results = tight.send(Array.from({ length: 512 }, () => remove(9999)));
  assert.ok(results.some((error) => error instanceof AnswerLostError));
  assert.ok(results.every((error) => error !== null));
  const again = tight.send([remove(9999), remove(9998)]);
  assert.ok(again.every((error) => error instanceof NetlinkError && error.code === "ESRCH"), "the connection goes on");
});

/** The socket, but boasting of a buffer that it has not. */
function boasting(socket: ReturnType<Driver["open"]>): ReturnType<Driver["open"]> {
  return {
    port: socket.port,
    receiveBuffer: 8 * 1024 * 1024,
    join: (group) => socket.join(group),
    send: (messages) => socket.send(messages),
    receive: (wait) => socket.receive(wait),
    watch: (wake) => socket.watch(wake),
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}

labTest("a batch is no larger than the receive buffer can answer, so that small buffers lose nothing", () => {
  const small: Driver = { ...driver, open: (protocol) => driver.open(protocol, { receiveBuffer: 32 * 1024 }) };
  using tight = new Connection(small);
  assert.ok(tight.batch < connection.batch, `${tight.batch}`);
  const results = tight.send(Array.from({ length: 2000 }, () => remove(9999)));
  assert.ok(results.every((error) => error instanceof NetlinkError && error.code === "ESRCH"));
});

labTest("dumps are filtered by the kernel: by protocol, by table, by device", async () => {
  await ip("route add 10.50.0.0/24 via 192.0.2.2 proto 99", "route add 10.51.0.0/24 via 192.0.2.2 table 77 proto 87");
  connection.send([add(1), add(2)]);
  assert.deepEqual(routes({ protocol: 99 }).map(({ dst }) => dst), ["10.50.0.0"]);
  assert.deepEqual(routes({ protocol: 87, table: TABLE_MAIN }).map(({ dst }) => dst), ["10.0.1.0", "10.0.2.0"]);
  assert.deepEqual(routes({ table: 77 }).map(({ dst }) => dst), ["10.51.0.0"]);
  connection.send([remove(1), remove(2)]);
  await ip("route del 10.50.0.0/24", "route del 10.51.0.0/24 table 77");
  const addresses = connection.dump(request(RTM.GETADDR, 0, ADDRESS, { index: n0 }), ADDRESS).values;
  assert.ok(addresses.length >= 2 && addresses.every(({ index }) => index === n0));
});

labTest("every kind of dump that the agent needs is understood in strict mode", async () => {
  await ip("neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev n0 nud permanent", "nexthop add id 5 via 192.0.2.2 dev n0");
  const neighbours = connection.dump(request(RTM.GETNEIGH, 0, NEIGHBOUR, { family: AF.INET, ifindex: n0 }), NEIGHBOUR).values;
  assert.ok(neighbours.some(({ dst, lladdr }) => dst === "192.0.2.9" && lladdr === "02:00:00:00:00:09"));
  const hops = connection.dump(request(RTM.GETNEXTHOP, 0, NEXTHOP, { family: AF.UNSPEC }), NEXTHOP).values;
  assert.deepEqual(hops.map(({ id, gateway, oif }) => [id, gateway, oif]), [[5, "192.0.2.2", n0]]);
  const settings = connection.dump(request(RTM.GETNETCONF, 0, NETCONF, { family: AF.INET }), NETCONF).values;
  assert.ok(settings.some(({ ifindex, rpFilter }) => ifindex === n0 && rpFilter !== undefined));
  await ip("nexthop del id 5", "neigh del 192.0.2.9 dev n0");
});

labTest("a dump that the kernel refuses throws its words, and the next one works", () => {
  assert.throws(
    () => connection.dump(request(RTM.GETADDR, 0, ADDRESS, { family: AF.INET, scope: 9 }), ADDRESS),
    (error: unknown) => error instanceof NetlinkError && error.code === "EINVAL" && error.kernelText !== null,
  );
  assert.ok(connection.dump(request(RTM.GETADDR, 0, ADDRESS, { family: AF.INET }), ADDRESS).complete);
});

labTest("a dump much larger than the receive buffer comes whole", () => {
  const count = 5000;
  connection.send(Array.from({ length: count }, (_, i) => add(i)));
  const small: Driver = { ...driver, open: (protocol) => driver.open(protocol, { receiveBuffer: 4096 }) };
  using tight = new Connection(small);
  const dump = tight.dump(request(RTM.GETROUTE, 0, ROUTE, { family: AF.INET, protocol: 87 }), ROUTE);
  assert.equal(new Set(dump.values.map(({ dst }) => dst)).size, count);
  connection.send(Array.from({ length: count }, (_, i) => remove(i)));
});

labTest("a dump that is interrupted is tried again; one that always is says that it is incomplete", () => {
  const hop = (id: number) => ({ family: AF.INET, protocol: 87, id, oif: n0, gateway: parseIp("192.0.2.2") });
  const put = (id: number) => request(RTM.NEWNEXTHOP, FLAG.CREATE, NEXTHOP, hop(id));
  const drop = (id: number) => request(RTM.DELNEXTHOP, 0, NEXTHOP, { family: AF.UNSPEC, id });
  const many = Array.from({ length: 3000 }, (_, i) => i + 1); // more than one datagram holds
  assert.ok(connection.send(many.map(put)).every((error) => error === null));
  for (const [times, complete, dumps] of [[0, true, 1], [3, true, 4], [Infinity, false, 10]] as const) {
    let [tries, left] = [0, times as number];
    const disturbed: Driver = {
      ...driver,
      open(protocol) {
        const socket = driver.open(protocol);
        const send = (messages: Uint8Array) => {
          socket.send(messages); // the kernel has made the first datagram now, and makes the others as they are read
          tries++;
          if (left-- > 0) connection.send([put(9999), drop(9999)]);
        };
        return { ...boasting(socket), send };
      },
    };
    using other = new Connection(disturbed);
    const dump = other.dump(request(RTM.GETNEXTHOP, 0, NEXTHOP, { family: AF.UNSPEC }), NEXTHOP);
    assert.equal(dump.complete, complete);
    assert.equal(tries, dumps);
    if (complete) assert.equal(dump.values.length, many.length);
  }
  connection.send(many.map(drop));
});

labTest("while another process changes the table, a dump misses nothing that stays, or says that it is incomplete", async () => {
  const stay = Array.from({ length: 300 }, (_, i) => ({
    family: AF.INET6,
    dstLength: 64,
    table: TABLE_MAIN,
    protocol: 87,
    type: UNICAST,
    dst: parseCidr(`fd98:0:0:${(i + 1).toString(16)}::/64`),
    oif: n0,
  }));
  assert.ok(connection.send(stay.map((it) => request(RTM.NEWROUTE, FLAG.CREATE, ROUTE, it))).every((error) => error === null));
  const script = new URL("netlink_churn.ts", import.meta.url).pathname;
  await using churn = new Daemon("churn", [...runtimeCommand(), script, "n0"], "/run/churn.log");
  await until("the other process is ready", () => churn.text().includes("ready"));
  let whole = 0;
  for (let i = 0; i < 60; i++) {
    const dump = connection.dump(request(RTM.GETROUTE, 0, ROUTE, { family: AF.INET6, table: TABLE_MAIN }), ROUTE);
    const seen = new Set(dump.values.filter(({ protocol }) => protocol === 87).map(({ dst }) => dst));
    if (dump.complete) whole++;
    assert.ok(!dump.complete || seen.size === stay.length, `${seen.size} of ${stay.length} routes in a dump called complete`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal(churn.exitCode, null, churn.tail());
  console.log(`${whole} of 60 dumps were complete`);
  connection.send(stay.map((it) => request(RTM.DELROUTE, 0, ROUTE, it)));
});

labTest("changes of others are heard, in bursts; own ones and groups that do not exist are not", async () => {
  const events: Event[] = [];
  let bursts = 0;
  using _subscription = subscribe(driver, [...Object.values(GROUP), 9999], {
    onEvent: (event) => events.push(event),
    onOverrun: () => assert.fail("overrun"),
    onIdle: () => bursts++,
  }, { ignorePort: connection.port });
  connection.send(Array.from({ length: 100 }, (_, i) => add(i)));
  await ip("route add 10.60.0.0/24 via 192.0.2.2");
  await until("the other's route is heard", () => bursts > 0 && events.length > 0);
  await ip(
    "neigh add 192.0.2.8 lladdr 02:00:00:00:00:08 dev n0 nud permanent",
    "addr add 192.0.2.77/32 dev n0",
    "nexthop add id 6 dev n0",
  );
  await ip("link set n0 mtu 1400", "nexthop del id 6", "addr del 192.0.2.77/32 dev n0", "neigh del 192.0.2.8 dev n0");
  await ip("route del 10.60.0.0/24", "link set n0 mtu 1500");
  const wanted = [RTM.NEWROUTE, RTM.DELROUTE, RTM.NEWNEIGH, RTM.NEWADDR, RTM.DELADDR, RTM.NEWLINK, RTM.NEWNEXTHOP, RTM.DELNEXTHOP];
  await until("every kind is heard", () => wanted.every((type) => events.some((event) => event.type === type)));
  const heard = events.filter(({ type }) => type === RTM.NEWROUTE).map(({ view, at, length }) => ROUTE.read(view, at, length)!.dst);
  assert.ok(heard.includes(parseIp("10.60.0.0")));
  assert.ok(!heard.some((dst) => dst === "10.0.1.0"), "our own route was heard");
  connection.send(Array.from({ length: 100 }, (_, i) => remove(i)));
});

labTest("more events than the buffer holds are an overrun, and events go on after it", async () => {
  const small: Driver = { ...driver, open: (protocol) => driver.open(protocol, { receiveBuffer: 8192 }) };
  let [overruns, events] = [0, 0];
  using _subscription = subscribe(small, [GROUP.IPV4_ROUTE], {
    onEvent: () => events++,
    onOverrun: () => overruns++,
    onIdle: () => {},
  });
  connection.send(Array.from({ length: 1000 }, (_, i) => add(i)));
  await until("the overrun is seen", () => overruns > 0);
  connection.send(Array.from({ length: 1000 }, (_, i) => remove(i)));
  await until("the second overrun is seen", () => overruns > 1);
  const heard = events;
  connection.send([add(1)]);
  await until("the next event is heard", () => events > heard);
  connection.send([remove(1)]);
});
