import assert from "node:assert/strict";
import { test } from "node:test";
import { withSeeds } from "../../test/seed.ts";
import { familyOf, parseCidr, parseIp, parseMac } from "../model/ip.ts";
import type { Change, Item } from "../model/item.ts";
import type { Request } from "../netlink/frame.ts";
import { Writer } from "../netlink/wire.ts";
import { Requests } from "./apply.ts";

const INDEXES: Readonly<Record<string, number>> = { eth0: 2, "flannel.1": 7 };

/** The bytes of the requests that make a change. */
function bytesOf(requests: Requests, change: Change): number[] {
  const made: Request[] = [];
  requests.add(change, made);
  const writer = new Writer(1024);
  return made.flatMap((request) => {
    writer.at = 0;
    request.write(writer);
    return [request.type, request.flags, ...writer.bytes.subarray(0, writer.at)];
  });
}

test("what was asked before does not change a request", async () => {
  const mac = parseMac("02:00:00:00:00:01");
  const cidrs = ["10.1.2.0/24", "10.1.2.0/25", "10.1.2.128/25", "fd00:1::/64", "fd00:2::/64", "fd00::/80"].map(parseCidr);
  const items: Item[] = Object.keys(INDEXES).flatMap((link) =>
    cidrs.flatMap((dst): Item[] => {
      const six = familyOf(dst) === 6;
      const via = parseIp(six ? "fe80::1" : "192.0.2.1");
      const src = parseIp(six ? "fd00:9::" : "10.1.9.0");
      return [
        { kind: "fdb", link, mac, dst: via },
        { kind: "neighbour", link, ip: via, mac },
        { kind: "nexthop", id: 77, hop: { via, link, onlink: true } },
        { kind: "nexthop", id: 78, hop: { via, link, onlink: false } },
        { kind: "route", dst, to: 77, src },
        { kind: "route", dst, to: 78, src: null },
        { kind: "route", dst, to: { via, link, onlink: true }, src },
        { kind: "route", dst, to: { via, link, onlink: false }, src: null },
        { kind: "route", dst, to: { via: null, link, onlink: false }, src: null },
      ];
    })
  );
  const changes = items.flatMap((item): Change[] => [{ op: "put", item, old: null }, { op: "put", item, old: item }]);
  const index = (link: string) => INDEXES[link]!;
  await withSeeds(5, (chance) => {
    const used = new Requests(index);
    for (const change of chance.shuffled(changes)) {
      assert.deepEqual(bytesOf(used, change), bytesOf(new Requests(index), change), JSON.stringify(change));
    }
  });
});

test("a device that was made anew has another number in the next request", () => {
  let number = 7;
  const used = new Requests(() => number);
  const put = (item: Item): Change => ({ op: "put", item, old: null });
  const hop = { via: parseIp("192.0.2.1"), link: "flannel.1", onlink: true };
  const changes: Change[] = [
    put({ kind: "nexthop", id: 77, hop }),
    put({ kind: "route", dst: parseCidr("10.1.2.0/24"), to: hop, src: null }),
    put({ kind: "fdb", link: "flannel.1", mac: parseMac("02:00:00:00:00:01"), dst: hop.via }),
    put({ kind: "neighbour", link: "flannel.1", ip: hop.via, mac: parseMac("02:00:00:00:00:01") }),
  ];
  for (const change of changes) bytesOf(used, change);
  number = 8;
  for (const change of changes) {
    assert.deepEqual(bytesOf(used, change), bytesOf(new Requests(() => number), change), change.item.kind);
  }
});
