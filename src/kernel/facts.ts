/**
 * Reads what the agent must know of the node: devices, addresses, and where the kernel sends packets.
 *
 * Only reads. Source: Linux `net/core/rtnetlink.c`, `net/ipv4/devinet.c`, `net/ipv4/route.c`.
 *
 * @module
 */

import { type Family, familyOf, type Ip } from "../model/ip.ts";
import type { AddressFact, Facts, LinkFact, Lookup } from "../model/kernel.ts";
import type { Connection } from "../netlink/connection.ts";
import { request } from "../netlink/frame.ts";
import {
  ADDRESS,
  AF,
  IPIP_LINK,
  LINK,
  LINK_CONF,
  type LinkMessage,
  LOOPBACK,
  LOWER_UP,
  ROUTE,
  RP_FILTER,
  RTM,
  SKIP_STATS,
  TABLE_MAIN,
  UNICAST,
  UP,
} from "../netlink/rtnl.ts";

/** A device as the kernel describes it, with its own setting of `rp_filter`, and the addresses of an ipip device. */
export type LinkRow = LinkMessage & {
  readonly rpFilter: number | undefined;
  readonly ipip: { readonly local?: Ip | undefined; readonly remote?: Ip | undefined } | undefined;
};

/** Flags of addresses (IFA_F_*). */
const TEMPORARY = 0x01;
const DEPRECATED = 0x20;
const PERMANENT_ADDRESS = 0x80;

/** Kinds of device behind which another node is never on-link: what they send is encapsulated or goes to one far end. */
const TUNNELS = new Set([
  "vxlan",
  "geneve",
  "gre",
  "gretap",
  "ip6gre",
  "ip6gretap",
  "erspan",
  "ip6erspan",
  "ipip",
  "ip6tnl",
  "sit",
  "vti",
  "vti6",
  "xfrm",
  "wireguard",
  "tun",
  "ppp",
  "gtp",
  "bareudp",
  "nlmon",
  "ifb",
]); // deno-fmt-ignore

/** The number of a family in messages. */
export function familyNumber(family: Family): number {
  return family === 4 ? AF.INET : AF.INET6;
}

/** All devices. */
export function readLinks(connection: Connection): LinkRow[] {
  const dump = connection.dumpOf(request(RTM.GETLINK, 0, LINK, { extMask: SKIP_STATS }), (view, at, length) => {
    const link = LINK.read(view, at, length);
    const conf = LINK_CONF.read(view, at, length)?.afSpec?.inet?.conf;
    if (link === null) return null;
    const ipip = link.linkInfo?.kind === "ipip" ? IPIP_LINK.read(view, at, length)?.linkInfo?.data : undefined;
    return { ...link, rpFilter: conf?.[RP_FILTER - 1], ipip };
  });
  return [...dump.values];
}

/** All devices and addresses, in the core's words. */
export function readFacts(connection: Connection, rows: readonly LinkRow[]): Facts {
  const names = new Map(rows.map((row) => [row.index!, row.name!]));
  const dump = connection.dump(request(RTM.GETADDR, 0, ADDRESS, { family: AF.UNSPEC }), ADDRESS);
  return {
    links: rows.map(linkFact),
    addresses: dump.values.flatMap((row): AddressFact[] => {
      const ip = row.local ?? row.address;
      const link = names.get(row.index!);
      if (ip === undefined || link === undefined) return [];
      const flags = row.flags ?? row.flags8!;
      return [{
        link,
        ip,
        length: row.prefixLength!,
        scope: row.scope!,
        temporary: (flags & TEMPORARY) !== 0 && familyOf(ip) === 6, // for IPv4 this bit means "secondary"
        deprecated: (flags & DEPRECATED) !== 0,
        permanent: (flags & PERMANENT_ADDRESS) !== 0,
      }];
    }),
  };
}

function linkFact(row: LinkRow): LinkFact {
  return {
    name: row.name!,
    index: row.index!,
    kind: row.linkInfo?.kind ?? "",
    mac: row.address ?? null,
    mtu: row.mtu ?? 0,
    up: (row.flags! & UP) !== 0,
    carrier: (row.flags! & LOWER_UP) !== 0,
    loopback: (row.flags! & LOOPBACK) !== 0,
  };
}

/** The device of the first default route of the main table. */
export function readDefaultRoute(connection: Connection, family: Family, links: readonly LinkRow[]): string | null {
  const filter = { family: familyNumber(family), table: TABLE_MAIN, type: UNICAST };
  const dump = connection.dump(request(RTM.GETROUTE, 0, ROUTE, filter), ROUTE);
  const first = dump.values.find((route) => route.dstLength === 0 && route.table === TABLE_MAIN && route.type === UNICAST);
  return links.find((link) => link.index === first?.oif)?.name ?? null;
}

/** Asks the kernel's own routing, a batch of addresses at a time. */
export function lookup(
  connection: Connection,
  ips: readonly Ip[],
  links: readonly LinkRow[],
  own: readonly string[],
): ReadonlyMap<Ip, Lookup> {
  const byIndex = new Map(links.map((link) => [link.index!, link]));
  const asked = ips.map((ip) =>
    request(RTM.GETROUTE, 0, ROUTE, {
      family: familyNumber(familyOf(ip)),
      dstLength: familyOf(ip) === 4 ? 32 : 128,
      dst: ip,
    })
  );
  const answers = connection.ask(asked, ROUTE);
  return new Map(ips.map((ip, i) => {
    const answer = answers[i]!;
    if (answer instanceof Error || answer.type !== UNICAST) return [ip, { onLink: null, link: null, src: null }];
    const link = byIndex.get(answer.oif ?? 0);
    const direct = answer.gateway === undefined && answer.via === undefined && link !== undefined &&
      (link.flags! & LOOPBACK) === 0 && !TUNNELS.has(link.linkInfo?.kind ?? "") && !own.includes(link.name!);
    const name = link?.name ?? null;
    return [ip, { onLink: direct ? name : null, link: name, src: answer.prefSrc ?? null }];
  }));
}
