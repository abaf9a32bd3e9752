/**
 * What a plugin has said, and what it is still to be asked.
 *
 * Answers are known by their questions as text. A question that has no answer yet is noted for the next message; until it is answered, the
 * answer to the peer's last question counts, and for the node none.
 *
 * @module
 */

import type { BareSide, NodeSide, OpenSide, Peer } from "../model/backend.ts";
import type { MacTable, PeerAnswer } from "../model/backend_port.ts";
import type { Level } from "../model/effects.ts";
import type { Cidr, Family } from "../model/ip.ts";
import type { Item } from "../model/item.ts";
import { nodeItems, peerAnswer, podMtu } from "./answers.ts";
import type { Batch, BatchAnswer, PlainSide, Said, Tables } from "./protocol.ts";
import { oneLine } from "./text.ts";

/** What it is made with. */
export interface MemoryOptions {
  /** The backend's name. */
  readonly name: string;
  readonly macs: MacTable;
  readonly log: (level: Level, message: string) => void;
  /** Called when there is a new question. */
  readonly asked: () => void;
}

/** A question for the node, as text, and what came of it. */
interface Answered<T> {
  readonly question: string;
  readonly said: { readonly value: T } | null;
}

/** A question about a peer. */
interface PeerAsked {
  readonly peer: Peer<unknown>;
  readonly side: NodeSide;
  readonly onLink: string | null;
  /** All of it as text. */
  readonly question: string;
}

/** What is known of a peer. */
interface PeerKnown {
  /** The last question. */
  asked: PeerAsked;
  /** The one that was answered. */
  question: string | null;
  answer: PeerAnswer;
}

/** Questions for one message. */
export interface Questions {
  mtu: Batch["mtu"];
  readonly publish: Map<Family, OpenSide>;
  readonly node: Map<Family, NodeSide>;
  readonly peers: Map<Cidr, PeerAsked>;
}

/** Answers and questions of one plugin. */
export class Memory {
  /** The plugin's devices. */
  links: readonly string[] = [];
  readonly #o: MemoryOptions;
  readonly #unanswered: PeerAnswer;
  /** What is wrong with answers for the node, by question. */
  readonly #wrong = new Map<string, string>();
  #mtu: Answered<number> | null = null;
  readonly #published = new Map<Family, Answered<unknown>>();
  readonly #node = new Map<Family, Answered<readonly Item[]>>();
  readonly #peers = new Map<Cidr, PeerKnown>();
  readonly #texts = new WeakMap<BareSide, string>();
  #next = noQuestions();

  constructor(options: MemoryOptions) {
    this.#o = options;
    const reason = `backend ${options.name} has not answered yet`;
    this.#unanswered = { path: "none", items: [], state: "pending", reason };
  }

  /** What is wrong with what was said for the node; `null` if nothing. */
  get problem(): string | null {
    return [...this.#wrong.values()][0] ?? null;
  }

  /** Whether there are questions. */
  get curious(): boolean {
    const { mtu, publish, node, peers } = this.#next;
    return mtu !== null || publish.size + node.size + peers.size > 0;
  }

  /** See {@linkcode BackendPort.mtu}. */
  mtu(external: number, families: readonly Family[]): number | null {
    if (this.#mtu?.question === JSON.stringify([external, families])) return this.#mtu.said?.value ?? null;
    this.#next.mtu = { external, families };
    this.#o.asked();
    return null;
  }

  /** See {@linkcode BackendPort.publish}. */
  publish(side: OpenSide): { readonly data: unknown } | null {
    const known = this.#published.get(side.family);
    if (known?.question === this.#textOf(side)) return known.said === null ? null : { data: known.said.value };
    this.#next.publish.set(side.family, side);
    this.#o.asked();
    return null;
  }

  /** See {@linkcode BackendPort.node}. */
  node(side: NodeSide): readonly Item[] | null {
    const known = this.#node.get(side.family);
    if (known?.question === this.#textOf(side)) return known.said?.value ?? null;
    this.#next.node.set(side.family, side);
    this.#o.asked();
    return null;
  }

  /** See {@linkcode BackendPort.peer}. */
  peer(peer: Peer<unknown>, side: NodeSide): PeerAnswer {
    const onLink = side.onLink(peer.publicIp);
    const known = this.#peers.get(peer.subnet);
    if (known?.asked.peer === peer && known.asked.side === side && known.asked.onLink === onLink) return known.answer;
    const question = JSON.stringify([peer.publicIps, peer.data, onLink]) + this.#textOf(side);
    const asked = { peer, side, onLink, question };
    if (known === undefined) this.#peers.set(peer.subnet, { asked, question: null, answer: this.#unanswered });
    else known.asked = asked;
    if (known?.question === question) this.#next.peers.delete(peer.subnet);
    else {
      this.#next.peers.set(peer.subnet, asked);
      this.#o.asked();
    }
    return known?.answer ?? this.#unanswered;
  }

  /** See {@linkcode BackendPort.forget}. */
  forget(subnets: readonly Cidr[]): void {
    for (const subnet of subnets) {
      this.#peers.delete(subnet);
      this.#next.peers.delete(subnet);
    }
  }

  /** Takes all questions out, for one message. */
  ask(): { readonly questions: Questions; readonly batch: Batch } {
    const questions = this.#next;
    this.#next = noQuestions();
    const { mtu, publish, node, peers } = questions;
    const sides = [...new Set([...peers.values()].map(({ side }) => side))];
    const batch: Batch = {
      tables: this.tables(),
      mtu,
      publish: [...publish.values()].map(plain),
      node: [...node.values()].map(plain),
      sides: sides.map(plain),
      peers: [...peers.values()].map(({ peer, side, onLink }) => ({ side: sides.indexOf(side), peer, onLink })),
    };
    return { questions, batch };
  }

  /** Puts questions back that were not answered, unless newer ones are there. */
  putBack({ mtu, publish, node, peers }: Questions): void {
    this.#next.mtu ??= mtu;
    for (const [family, side] of publish) if (!this.#next.publish.has(family)) this.#next.publish.set(family, side);
    for (const [family, side] of node) if (!this.#next.node.has(family)) this.#next.node.set(family, side);
    for (const [subnet, asked] of peers) if (this.#peers.get(subnet)?.asked === asked) this.#next.peers.set(subnet, asked);
  }

  /** Takes over what was said, each as far as it may be said. */
  take({ mtu, publish, node, peers }: Questions, answer: BatchAnswer): void {
    for (const [link, mac] of answer.chosen) this.#o.macs.choose(link, mac);
    if (mtu !== null) {
      this.#mtu = { question: JSON.stringify([mtu.external, mtu.families]), said: this.#read("mtu", answer.mtu!, podMtu) };
    }
    [...publish.values()].forEach((side, i) => {
      const said = this.#read(`publish IPv${side.family}`, answer.publish[i]!, (value) => value ?? null);
      this.#published.set(side.family, { question: this.#textOf(side), said });
    });
    [...node.values()].forEach((side, i) => {
      const ground = { side, links: this.links, peer: null };
      const said = this.#read(`node IPv${side.family}`, answer.node[i]!, (value) => nodeItems(value, ground));
      this.#node.set(side.family, { question: this.#textOf(side), said });
    });
    [...peers.values()].forEach((asked, i) => {
      const known = this.#peers.get(asked.peer.subnet);
      if (known === undefined) return;
      known.answer = this.#readPeer(asked, answer.peers[i]!);
      known.question = asked.question;
    });
  }

  /** What the functions of sides answer by. */
  tables(): Tables {
    const { macs } = this.#o;
    return {
      macs: Object.fromEntries(this.links.map((link) => [link, macs.of(link)])),
      earlier: { 4: macs.earlier(4), 6: macs.earlier(6) },
    };
  }

  #readPeer({ peer, side }: PeerAsked, said: Said<unknown>): PeerAnswer {
    try {
      if ("error" in said) throw new Error(oneLine(said.error));
      return peerAnswer(said.value, { side, links: this.links, peer });
    } catch (error) {
      const reason = `backend ${this.#o.name} failed for it: ${(error as Error).message}`;
      return { path: "none", items: [], state: "pending", reason };
    }
  }

  /** Reads what was said for the node; what is wrong with it is the plugin's problem until it says something better. */
  #read<T>(what: string, said: Said<unknown>, check: (value: unknown) => T): { readonly value: T } | null {
    try {
      if ("error" in said) throw new Error(`its ${what.split(" ")[0]}() failed: ${oneLine(said.error)}`);
      const value = check(said.value);
      this.#wrong.delete(what);
      return { value };
    } catch (error) {
      const { message } = error as Error;
      if (this.#wrong.get(what) !== message) this.#o.log("error", `backend ${this.#o.name}: ${message}`);
      this.#wrong.set(what, message);
      return null;
    }
  }

  #textOf(side: BareSide): string {
    const text = this.#texts.get(side) ?? JSON.stringify(side);
    this.#texts.set(side, text);
    return text;
  }
}

/** A side without its functions, which can not be sent. */
export function plain(side: BareSide): PlainSide {
  const { onLink: _, macFor: __, ...rest } = side;
  return rest;
}

function noQuestions(): Questions {
  return { mtu: null, publish: new Map(), node: new Map(), peers: new Map() };
}
