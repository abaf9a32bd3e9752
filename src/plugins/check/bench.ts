/**
 * Asks a backend that is checked, and waits for its answers.
 *
 * @module
 */

import type { NodeSide } from "../../model/backend.ts";
import type { BackendPort, MacTable, PeerAnswer } from "../../model/backend_port.ts";
import type { Family } from "../../model/ip.ts";
import type { Item } from "../../model/item.ts";
import { macsOf, MTU, openSideOf, peerOf, sideOf } from "./world.ts";

/** A backend that can be opened any number of times, each time without a memory of the times before. */
export interface Subject {
  readonly name: string;
  open(macs: MacTable, changed: () => void): Promise<BackendPort>;
  /** What some peers publish, where an example says it; else `null`, and it is what the backend publishes on them. */
  example(port: BackendPort, peers: readonly number[], family: Family): Promise<readonly unknown[] | null>;
}

/** What a check has found, and what to do about it. */
export class Finding extends Error {
  override readonly name = "Finding";
  readonly mend: string;

  constructor(what: string, mend: string) {
    super(what);
    this.mend = mend;
  }
}

/** Settles when the backend has something new to say. */
interface News {
  promise: Promise<void>;
  tell: () => void;
}

/** An opened backend. */
export class Bench implements Disposable {
  readonly subject: Subject;
  readonly port: BackendPort;
  /** What its effects have started with. */
  readonly state: unknown;
  readonly #news: News;
  readonly #number: { n: number };

  private constructor(subject: Subject, port: BackendPort, state: unknown, news: News, number: { n: number }) {
    this.subject = subject;
    this.port = port;
    this.state = state;
    this.#news = news;
    this.#number = number;
  }

  /** Opens a backend anew. */
  static async open(subject: Subject, state: unknown): Promise<Bench> {
    const news = { promise: Promise.resolve(), tell: () => {} };
    const renew = () => {
      news.tell();
      const { promise, resolve } = Promise.withResolvers<void>();
      Object.assign(news, { promise, tell: resolve });
    };
    renew();
    const number = { n: 1 };
    return new Bench(subject, await subject.open(macsOf(() => number.n), renew), state, news, number);
  }

  /** The MTU for pods, in bytes. */
  async mtu(families: readonly Family[] = [4, 6], external = MTU): Promise<number> {
    return await this.#answer("mtu", () => this.port.mtu(external, families));
  }

  /** The node that it runs on. */
  async side(family: Family): Promise<NodeSide> {
    return sideOf(1, family, await this.mtu(), this.state);
  }

  /** What it publishes on a node, as others read it. */
  async publish(n: number, family: Family): Promise<unknown> {
    const side = openSideOf(n, family, await this.mtu(), this.state);
    this.#number.n = n;
    const { data } = await this.#answer("publish", () => this.port.publish(side));
    this.#number.n = 1;
    const text = JSON.stringify(data ?? null);
    if (text === undefined) throw new Finding("publish() answers what is no JSON", "publish plain objects, texts, numbers or null");
    return JSON.parse(text);
  }

  /** What some peers publish. */
  async data(peers: readonly number[], family: Family): Promise<readonly unknown[]> {
    const example = await this.subject.example(this.port, peers, family);
    if (example !== null) return example;
    if (this.port.effects.start !== undefined) {
      throw new Finding(
        "what it publishes depends on what it starts, so what other nodes publish is not known",
        "say it: export const example = { data: (n, family) => … }",
      );
    }
    const published: unknown[] = [];
    for (const n of peers) published.push(await this.publish(n, family));
    return published;
  }

  /** What the node itself needs. */
  async node(family: Family): Promise<readonly Item[]> {
    const side = await this.side(family);
    return await this.#answer("node", () => this.port.node(side));
  }

  /** What some peers need that publish something. */
  async peers(peers: readonly number[], family: Family, data: readonly unknown[]): Promise<readonly PeerAnswer[]> {
    const side = await this.side(family);
    const asked = peers.map((n, i) => peerOf(n, family, data[i]));
    const answers = () => asked.map((peer) => this.port.peer(peer, side));
    answers();
    await this.settle("peer");
    return answers();
  }

  /** Waits until all that it was asked is answered. */
  async settle(planner: string): Promise<void> {
    while (!this.port.settled) await this.#wait(planner);
  }

  [Symbol.dispose](): void {
    this.port.close();
  }

  async #answer<T>(planner: string, ask: () => T | null): Promise<T> {
    while (true) {
      const answer = ask();
      if (answer !== null) return answer;
      await this.#wait(planner);
    }
  }

  async #wait(planner: string): Promise<void> {
    if (this.port.problem === null) await this.#news.promise;
    if (this.port.problem !== null) {
      throw new Finding(`${planner}(): ${this.port.problem}`, "see docs/backends.md, What planners may do");
    }
  }
}
