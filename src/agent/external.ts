/**
 * Chooses the device that leads to the other nodes, and this node's address on it.
 *
 * Pure: the kernel's answers are handed in. Follows flannel's rules (`pkg/ipmatch`), with one difference: a public address that no
 * device has is fine, since the node may be behind NAT.
 *
 * @module
 */

import type { InterfaceChoice } from "../config/flag_types.ts";
import { type Family, familyOf, type Ip } from "../model/ip.ts";
import type { AddressFact, Facts, LinkFact, Lookup } from "../model/kernel.ts";

/** The chosen device. */
export interface External {
  readonly link: LinkFact;
  /** Our address on it, by family. */
  readonly addresses: ReadonlyMap<Family, Ip>;
}

/** What the choice is made of. */
export interface ExternalInput {
  /** The families of the network. */
  readonly families: readonly Family[];
  /** In order; the first that leads somewhere counts. Empty: the device with the public address, else that of the default route. */
  readonly choices: readonly InterfaceChoice[];
  /** The public addresses that were asked for. */
  readonly publicIps: readonly Ip[];
  readonly facts: Facts;
  readonly defaultRoute: (family: Family) => string | null;
  readonly lookup: (ip: Ip) => Lookup | undefined;
}

const SCOPE_GLOBAL = 0;
const SCOPE_LINK = 253;

/** The chosen device, or why there is none. */
export function chooseExternal(input: ExternalInput): External | { readonly reason: string } {
  if (input.choices.length === 0) return withoutChoice(input);
  const reasons: string[] = [];
  for (const choice of input.choices) {
    const found = byChoice(choice, input);
    if ("link" in found) return found;
    reasons.push(found.reason);
  }
  return { reason: reasons.join("; ") };
}

type Found = External | { readonly reason: string };

function withoutChoice(input: ExternalInput): Found {
  const { facts, publicIps, families } = input;
  const owned = facts.addresses.find(({ ip }) => publicIps.includes(ip));
  if (owned !== undefined) return onLink(owned.link, input, owned.ip);
  const links = new Set(families.map((family) => input.defaultRoute(family)));
  const [link] = links;
  if (link === null || link === undefined || links.size > 1) {
    const which = families.map((family) => `IPv${family}`).join(" and ");
    const why = links.size > 1 ? "the families' default routes leave over different devices" : "there is no default route";
    return { reason: `${why} (${which}); name the device with --iface` };
  }
  return onLink(link, input);
}

function byChoice(choice: InterfaceChoice, input: ExternalInput): Found {
  const { facts } = input;
  switch (choice.by) {
    case "name":
      return onLink(choice.name, input);
    case "address": {
      const owner = facts.addresses.find(({ ip }) => ip === choice.ip);
      return owner === undefined ? { reason: `no device has the address ${choice.ip}` } : onLink(owner.link, input, choice.ip);
    }
    case "reach": {
      const answer = input.lookup(choice.ip);
      if (!answer || answer.link === null) return { reason: `the kernel has no route to ${choice.ip}` };
      return onLink(answer.link, input, answer.src ?? undefined);
    }
    case "regex":
      return byRegex(choice.regex, input);
    default:
      return choice satisfies never;
  }
}

/** Addresses are tried before names, devices in the kernel's order. */
function byRegex(regex: RegExp, input: ExternalInput): Found {
  const { facts, families } = input;
  for (const { name } of facts.links) {
    const matching = families.map((family) => usable(facts, name, family).find(({ ip }) => regex.test(ip))?.ip);
    if (matching.every((ip) => ip !== undefined)) return onLink(name, input, ...matching);
  }
  const link = facts.links.find(({ name }) => regex.test(name));
  return link === undefined ? { reason: `no address and no name of a device matches ${regex}` } : onLink(link.name, input);
}

/** A device with the best of its addresses, or with the given ones. */
function onLink(name: string, input: ExternalInput, ...wanted: readonly (Ip | undefined)[]): Found {
  const link = input.facts.links.find((link) => link.name === name);
  if (link === undefined) return { reason: `device ${name} does not exist` };
  if (link.mtu === 0) return { reason: `device ${name} has no MTU` };
  const addresses = new Map<Family, Ip>();
  for (const family of input.families) {
    const ip = wanted.find((ip) => ip !== undefined && familyOf(ip) === family) ?? usable(input.facts, name, family)[0]?.ip;
    if (ip === undefined) return { reason: `device ${name} has no usable IPv${family} address` };
    addresses.set(family, ip);
  }
  return { link, addresses };
}

/** The addresses of a device that others may send to: global before link-local, permanent before dynamic, lasting before temporary. */
function usable(facts: Facts, link: string, family: Family): AddressFact[] {
  const place = (address: AddressFact) =>
    (address.scope === SCOPE_GLOBAL ? 0 : 4) + (address.permanent ? 0 : 2) + (address.temporary ? 1 : 0);
  return facts.addresses
    .filter((address) =>
      address.link === link && familyOf(address.ip) === family && !address.deprecated &&
      (address.scope === SCOPE_GLOBAL || address.scope === SCOPE_LINK)
    )
    .sort((a, b) => place(a) - place(b));
}
