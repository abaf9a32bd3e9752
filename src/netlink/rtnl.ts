/**
 * The messages of rtnetlink that Weft speaks, as tables.
 *
 * Source: Linux `include/uapi/linux/`: rtnetlink.h, if_link.h, if_addr.h, neighbour.h, nexthop.h, netconf.h.
 *
 * @module
 */

import { message, nested, type Of } from "./schema.ts";
import { be16, flag, i32, ip, mac, prefix, text, u16, u32, u8 } from "./wire.ts";

/** Message types (RTM_*). */
export const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
  NEWNETCONF: 80,
  GETNETCONF: 82,
  NEWNEXTHOP: 104,
  DELNEXTHOP: 105,
  GETNEXTHOP: 106,
} as const;

/** Multicast groups (RTNLGRP_*). */
export const GROUP = {
  LINK: 1,
  NEIGH: 3,
  IPV4_ADDRESS: 5,
  IPV4_ROUTE: 7,
  IPV6_ADDRESS: 9,
  IPV6_ROUTE: 11,
  IPV4_NETCONF: 24,
  NEXTHOP: 32,
} as const;

/** Address families (AF_*). */
export const AF = { UNSPEC: 0, INET: 2, BRIDGE: 7, INET6: 10 } as const;
/** The main routing table. */
export const TABLE_MAIN = 254;
/** The kind of routes that lead to a destination (RTN_UNICAST). */
export const UNICAST = 1;
/** The kind of routes that drop without a word (RTN_BLACKHOLE). */
export const BLACKHOLE = 6;
/** IPv6 routes without a metric get this one (IP6_RT_PRIO_USER). */
export const IPV6_METRIC = 1024;
/** The last metric: every other route goes first. */
export const LAST_METRIC = 0xffffffff;
/** The destination is on the device itself, without a gateway (RT_SCOPE_LINK). */
export const SCOPE_LINK = 253;
/** Any scope, where a route is deleted (RT_SCOPE_NOWHERE). */
export const SCOPE_ANY = 255;
/** Who made a route (RTPROT_BOOT): what `ip route add` and flannel leave it at. */
export const PROTOCOL_BOOT = 3;
/** The gateway counts as reachable on the device (RTNH_F_ONLINK). */
export const ONLINK = 4;
/** The nexthop can not be used now (RTNH_F_DEAD). */
export const DEAD = 1;
/** A neighbour or FDB entry that never ages (NUD_PERMANENT). */
export const PERMANENT = 0x80;
/** An FDB entry of the device itself, not of a bridge over it (NTF_SELF). */
export const SELF = 2;
/** The device is up (IFF_UP). */
export const UP = 1;
/** The device is the loopback one (IFF_LOOPBACK). */
export const LOOPBACK = 8;
/** The device has a carrier (IFF_LOWER_UP). */
export const LOWER_UP = 0x10000;
/** Leave the statistics out of link dumps (RTEXT_FILTER_SKIP_STATS). */
export const SKIP_STATS = 8;
/** Number of `rp_filter` among IPv4's per-device settings (IPV4_DEVCONF_RP_FILTER). */
export const RP_FILTER = 8;

/** Parameters of a vxlan device (IFLA_VXLAN_*). */
export const VXLAN = {
  id: [1, u32],
  link: [3, u32],
  local: [4, ip],
  ttl: [5, u8],
  tos: [6, u8],
  learning: [7, u8],
  proxy: [11, u8],
  rsc: [12, u8],
  l2miss: [13, u8],
  l3miss: [14, u8],
  port: [15, be16],
  local6: [17, ip],
  zeroCsumTx: [19, u8],
  zeroCsumRx: [20, u8],
  gbp: [23, flag],
} as const;

/** Parameters of an ipip device (IFLA_IPTUN_*). */
export const IPIP = {
  local: [2, ip],
  remote: [3, ip],
  ttl: [4, u8],
  pathMtuDiscovery: [10, u8],
} as const;

/** `struct ifinfomsg` with IFLA_*; parameters are those of a vxlan device. */
export const LINK = message({ family: u8, pad: u8, deviceType: u16, index: i32, flags: u32, change: u32 }, {
  address: [1, mac],
  name: [3, text],
  mtu: [4, u32],
  txQueueLength: [13, u32],
  operationalState: [16, u8],
  linkInfo: [18, nested({ kind: [1, text], data: [2, nested(VXLAN)] })],
  afSpec: [26, nested({ inet: [AF.INET, nested({ conf: [1, nested({ rpFilter: [RP_FILTER, u32] })] })] })],
  extMask: [29, u32],
});

/** An ipip device, whose parameters have numbers of their own. */
export const IPIP_LINK = message(LINK.fields, {
  name: [3, text],
  mtu: [4, u32],
  linkInfo: [18, nested({ kind: [1, text], data: [2, nested(IPIP)] })],
});

/** IPv4's per-device settings as a link dump gives them: an array of numbers. */
export const LINK_CONF = message(LINK.fields, {
  afSpec: [26, nested({ inet: [AF.INET, nested({ conf: [1, numbers()] })] })],
});

function numbers() {
  return {
    size: 0,
    write: () => {
      throw new TypeError("the kernel takes these one by one");
    },
    read: (view: DataView, at: number, length: number) =>
      Array.from({ length: length >> 2 }, (_, i) => view.getUint32(at + 4 * i, true)),
  };
}

/** `struct ifaddrmsg` with IFA_*. */
export const ADDRESS = message({ family: u8, prefixLength: u8, flags8: u8, scope: u8, index: u32 }, {
  address: [1, ip],
  local: [2, ip],
  flags: [8, u32],
});

/** `struct rtmsg` with RTA_*. */
export const ROUTE = message(
  { family: u8, dstLength: u8, srcLength: u8, tos: u8, table: u8, protocol: u8, scope: u8, type: u8, flags: u32 },
  {
    dst: [1, prefix],
    oif: [4, u32],
    gateway: [5, ip],
    priority: [6, u32],
    prefSrc: [7, ip],
    metrics: [8, flag],
    multipath: [9, flag],
    tableId: [15, u32],
    via: [18, flag],
    nexthopId: [30, u32],
  },
);

/** `struct ndmsg` with NDA_*: neighbours, and FDB entries where the family is AF_BRIDGE. */
export const NEIGHBOUR = message({ family: u8, pad1: u8, pad2: u16, index: i32, state: u16, flags: u8, type: u8 }, {
  dst: [1, ip],
  lladdr: [2, mac],
  port: [6, be16],
  vni: [7, u32],
  ifindex: [8, u32],
});

/** `struct nhmsg` with NHA_*. */
export const NEXTHOP = message({ family: u8, scope: u8, protocol: u8, reserved: u8, flags: u32 }, {
  id: [1, u32],
  group: [2, flag],
  oif: [5, u32],
  gateway: [6, ip],
});

/** `struct netconfmsg` with NETCONFA_*; the family is padded to four bytes. */
export const NETCONF = message({ family: u8 }, { ifindex: [1, i32], rpFilter: [3, i32] });

export type LinkMessage = Of<typeof LINK>;
export type AddressMessage = Of<typeof ADDRESS>;
export type RouteMessage = Of<typeof ROUTE>;
export type NeighbourMessage = Of<typeof NEIGHBOUR>;
export type NexthopMessage = Of<typeof NEXTHOP>;
