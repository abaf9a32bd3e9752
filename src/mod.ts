/**
 * All that the author of a backend imports.
 *
 * @module
 */

export { BACKEND_API, defineBackend } from "./model/backend.ts";
export type { Backend, BareSide, NodeSide, OpenSide, Peer, PeerPlan } from "./model/backend.ts";
export type { EffectContext, EffectNode, EffectPeer, Effects, Level, PeerChanges, PeerFailures } from "./model/effects.ts";
export { foldKeys } from "./model/fold_keys.ts";
export { linkLocalOf, networkOf, parseCidr, parseIp, parseMac } from "./model/ip.ts";
export { isUnicastMac } from "./model/ip.ts";
export type { Cidr, Family, Ip, Mac } from "./model/ip.ts";
export type { Address, AllowedIp, Fdb, Hop, Item, Neighbour, Nexthop, PresharedKey, ReversePath, Route } from "./model/item.ts";
export type { IpipLink, Link, VxlanLink, WireguardKey, WireguardLink, WireguardPeer } from "./model/item.ts";
export { endpointOf } from "./model/lease.ts";
export type { Endpoint, Lease } from "./model/lease.ts";
export type { Schema, SchemaResult, StandardSchema } from "./model/schema.ts";
