/**
 * An embedded store's file as the lease-store contract and the other tests of the store need it: made in a folder of its own, and
 * written to behind the stores' back with plain SQL.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { watchFolder } from "../watch_folder.ts";
import type { LeaseStore } from "../../src/model/lease.ts";
import { openEmbeddedStore } from "../../src/stores/embedded.ts";
import { leaseKey, leaseValue } from "../../src/stores/lease_value.ts";
import { BROKEN, GOOD } from "./lease_entries.ts";
import type { Backing, ForeignLease, TestNode } from "./lease_store.ts";

/** Entries that are no leases. */
const ALL_BROKEN: typeof BROKEN = [...BROKEN, ["", GOOD]];

/** The backing of embedded stores. */
export class EmbeddedBacking implements Backing {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-leases-"));
  readonly path = join(this.folder, "leases.db");
  readonly netConfigPath = join(this.folder, "net-conf.json");
  #ahead = 0;

  /** Milliseconds since the epoch, for all stores of this backing. */
  readonly now = (): number => Date.now() + this.#ahead;

  open(node: TestNode): Promise<LeaseStore> {
    return openEmbeddedStore({
      path: this.path,
      node: node.name,
      netConfigPath: this.netConfigPath,
      netConfigPathIsDefault: false,
      now: this.now,
      random: Math.random,
      watchFolder,
    });
  }

  async put({ node, backendType, data, lifetime }: ForeignLease): Promise<string> {
    const endpoints = node.subnets.map((subnet, i) => ({ subnet, publicIp: node.publicIps[i]!, data: data[i] ?? null }));
    const key = leaseKey(node.subnets);
    await this.write(key, leaseValue({ backendType, endpoints }), node.name, lifetime === null ? null : this.now() + lifetime);
    return key;
  }

  async putBroken(): Promise<readonly string[]> {
    for (const [key, value] of ALL_BROKEN) await this.write(key, value, "broken", null);
    return ALL_BROKEN.map(([key]) => key);
  }

  async remove(key: string): Promise<void> {
    await this.sql("DELETE FROM lease WHERE key = ?", key);
  }

  async configure(text: string): Promise<void> {
    await writeFile(`${this.netConfigPath}.new`, text);
    await rename(`${this.netConfigPath}.new`, this.netConfigPath);
  }

  /** Moves the clock of all stores. */
  advance(milliseconds: number): void {
    this.#ahead += milliseconds;
  }

  /** Writes an entry, whatever it holds. The file must have been opened by a store before, since stores make it. */
  async write(key: string, value: string, node: string, expiresAt: number | null): Promise<void> {
    await this.sql("INSERT OR REPLACE INTO lease (key, value, node, expires_at) VALUES (?, ?, ?, ?)", key, value, node, expiresAt);
  }

  /** Runs one statement as another program would. */
  async sql(statement: string, ...values: (string | number | null)[]): Promise<Record<string, unknown>[]> {
    const maker = await this.open({ name: "maker", publicIps: [], subnets: [] });
    await maker[Symbol.asyncDispose]();
    const db = new DatabaseSync(this.path);
    try {
      db.exec("PRAGMA busy_timeout = 5000");
      return db.prepare(statement).all(...values) as Record<string, unknown>[];
    } finally {
      db.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.folder, { recursive: true, force: true });
    return Promise.resolve();
  }
}
