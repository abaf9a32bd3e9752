/**
 * How much work something is, on machines that are busy with other things too.
 *
 * @module
 */

import process from "node:process";

/** Processor time that a function takes, in milliseconds. */
export function effortOf(run: () => void): number {
  const before = process.cpuUsage().user;
  run();
  return (process.cpuUsage().user - before) / 1000;
}
