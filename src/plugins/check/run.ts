/**
 * Runs all checks of a backend, one after the other: the suite of authors, of the built-in backends, and of those that are shipped.
 *
 * @module
 */

import type { Kernel } from "../../model/kernel.ts";
import { Bench, Finding, type Subject } from "./bench.ts";
import { EFFECT_CHECK, KERNEL_CHECKS, startOf } from "./kernel.ts";
import { PLANNER_CHECKS } from "./planners.ts";
import { Room, Skip } from "./room.ts";

/** What came of a check. */
export interface Result {
  readonly name: string;
  readonly outcome: "passed" | "failed" | "skipped";
  /** A figure, what was found, or why it was skipped. */
  readonly note: string | null;
  /** What to do about it. */
  readonly mend: string | null;
}

/** Where a backend is checked. */
export interface Place {
  /** A kernel of which the backend may change everything; or why there is none. */
  readonly kernel: Kernel | { readonly lack: string };
}

/** Runs all checks. @throws {Error} If the backend can not even be opened. */
export async function* check(subject: Subject, { kernel }: Place): AsyncGenerator<Result> {
  const lack = "lack" in kernel ? kernel.lack : null;
  let state: unknown = null;
  let foundation: Result;
  {
    using bench = await Bench.open(subject, null);
    if (bench.port.effects.start !== undefined && lack !== null) {
      throw new Error(`it starts something, which is done only in namespaces of its own, and ${lack}`);
    }
    state = await startOf(bench.port);
    foundation = await resultOf("says what other nodes publish", async () => void await bench.data([2], 4));
  }
  yield foundation;
  if (foundation.outcome === "failed") return; // all that follows would say the same
  for (const { name, run } of PLANNER_CHECKS) yield await resultOf(name, () => run({ subject, state }));
  if ("lack" in kernel) {
    for (const { name } of [...KERNEL_CHECKS, EFFECT_CHECK]) yield { name, outcome: "skipped", note: kernel.lack, mend: null };
    return;
  }
  for (const { name, run } of KERNEL_CHECKS) {
    yield await resultOf(name, () => run({ subject, state }, kernel));
    await clear(subject, state, kernel).catch(() => {}); // the next check will say why
  }
  yield await resultOf(EFFECT_CHECK.name, () => EFFECT_CHECK.run(subject, state));
}

/** Removes what a check has left. */
async function clear(subject: Subject, state: unknown, kernel: Kernel): Promise<void> {
  using room = await Room.open({ subject, state }, kernel);
  await room.clear();
}

async function resultOf(name: string, run: () => Promise<string | void>): Promise<Result> {
  try {
    return { name, outcome: "passed", note: await run() ?? null, mend: null };
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof Skip) return { name, outcome: "skipped", note: message, mend: null };
    return { name, outcome: "failed", note: message, mend: error instanceof Finding ? error.mend : null };
  }
}
