/**
 * Events of nf_tables: who changed which chains.
 *
 * Owns reading what the kernel multicasts when a transaction is done; rules themselves are read and written by programs of their own.
 * Source: Linux `include/uapi/linux/netfilter/nf_tables.h`, `nfnetlink.h`; `net/netfilter/nf_tables_api.c` (nf_tables_commit).
 *
 * @module
 */

import type { RulesetChange } from "../model/kernel.ts";
import type { Driver } from "./connection.ts";
import { AF } from "./rtnl.ts";
import { message } from "./schema.ts";
import { type Event, subscribe } from "./subscription.ts";
import { be16, be32, text, u8 } from "./wire.ts";

const NETLINK_NETFILTER = 12;
const NFNLGRP_NFTABLES = 7;
const NFNL_SUBSYS_NFTABLES = 10;

/** Message types (NFT_MSG_*) with the subsystem they belong to. */
export const NFT = {
  NEWTABLE: NFNL_SUBSYS_NFTABLES << 8 | 0,
  DELTABLE: NFNL_SUBSYS_NFTABLES << 8 | 2,
  NEWCHAIN: NFNL_SUBSYS_NFTABLES << 8 | 3,
  DELCHAIN: NFNL_SUBSYS_NFTABLES << 8 | 5,
  NEWRULE: NFNL_SUBSYS_NFTABLES << 8 | 6,
  DELRULE: NFNL_SUBSYS_NFTABLES << 8 | 8,
  NEWGEN: NFNL_SUBSYS_NFTABLES << 8 | 15,
} as const;

/** `struct nfgenmsg`. */
const HEADER = { family: u8, version: u8, resource: be16 };
/** A table, as far as its name (NFTA_TABLE_*). */
export const TABLE = message(HEADER, { table: [1, text] });
/** A chain, as far as its names (NFTA_CHAIN_*). */
export const CHAIN = message(HEADER, { table: [1, text], chain: [3, text] });
/** A rule, as far as it is told where it stands (NFTA_RULE_*). */
export const RULE = message(HEADER, { table: [1, text], chain: [2, text] });
/** The end of a transaction, and whose it was (NFTA_GEN_*). */
export const GENERATION = message(HEADER, { pid: [2, be32], name: [3, text] });

const FAMILIES: Readonly<Record<number, string>> = { [AF.INET]: "ip", [AF.INET6]: "ip6" };

/**
 * Tells of every transaction that touches a table of IPv4 or IPv6, whoever made it.
 *
 * @param changed Called after each; with `null` where some were missed.
 * @returns Ends it.
 * @throws {NetlinkSocketError} If this kernel has no nf_tables, or does not tell us.
 */
export function watchRuleset(driver: Driver, changed: (change: RulesetChange | null) => void): () => void {
  const transaction = new Transaction();
  const subscription = subscribe(driver, [NFNLGRP_NFTABLES], {
    onEvent: (event) => {
      const change = transaction.take(event);
      if (change !== null) changed(change);
    },
    onOverrun: () => {
      transaction.forget();
      changed(null);
    },
    onIdle: () => {},
  }, { protocol: NETLINK_NETFILTER });
  return () => subscription[Symbol.dispose]();
}

/** What a message names. */
interface Names {
  readonly family?: number | undefined;
  readonly table?: string | undefined;
  readonly chain?: string | undefined;
}

/** Collects the messages of a transaction, which ends with the news of a generation. */
export class Transaction {
  readonly #touched = new Map<string, RulesetChange["touched"][number]>();

  /** Takes a message. @returns The transaction if that was its last, unless nothing of it matters. */
  take({ type, view, at, length }: Event): RulesetChange | null {
    switch (type) {
      case NFT.NEWTABLE:
      case NFT.DELTABLE:
        this.#touch(TABLE.read(view, at, length));
        return null;
      case NFT.NEWCHAIN:
      case NFT.DELCHAIN:
        this.#touch(CHAIN.read(view, at, length));
        return null;
      case NFT.NEWRULE:
      case NFT.DELRULE:
        this.#touch(RULE.read(view, at, length));
        return null;
      case NFT.NEWGEN: {
        const touched = [...this.#touched.values()];
        this.forget();
        const { pid, name } = GENERATION.read(view, at, length) ?? {};
        return touched.length === 0 ? null : { touched, by: name === undefined ? null : `${name} (${pid})` };
      }
      default:
        return null;
    }
  }

  /** Leaves out what has been taken. */
  forget(): void {
    this.#touched.clear();
  }

  #touch(names: Names | null): void {
    const family = FAMILIES[names?.family ?? 0];
    if (family === undefined || names?.table === undefined) return;
    const { table, chain = null } = names;
    this.#touched.set(`${family} ${table} ${chain}`, { family, table, chain });
  }
}
