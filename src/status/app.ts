/**
 * The HTTP API as hono apps: requests in, responses out, no socket.
 *
 * {@linkcode createStatusApp} is what `--status-listen` serves, {@linkcode createHealthApp} what `--healthz-port` serves. The texts of
 * `/healthz` and `/readyz` are flanneld's, byte for byte on their first line. Both only read: a report is asked for at each request.
 *
 * @module
 */

import { type Context, Hono } from "hono";
import { secureHeaders } from "hono/secure-headers";
import { type Conditions, reasonNotReady, type Report, rowOf } from "../model/report.ts";
import { statusBody } from "./body.ts";
import { namesThisNode } from "./host.ts";

/** What the status app needs to know. */
export interface StatusAppOptions {
  /** The agent's report of this moment. */
  report(): Report;
  /** What the report says of readiness, for less: probes ask every few seconds, and there are thousands of peers. The report's own if absent. */
  conditions?(): Conditions;
  /** The node's own addresses and names, which a request may be addressed to. */
  hosts(): readonly string[];
}

const HEALTH_PATHS = ["/healthz", "/readyz"];
const PATHS = [...HEALTH_PATHS, "/v1/status", "/v1/peers"];

/**
 * Makes the app of `--status-listen`: health, status and peers.
 *
 * Requests that are addressed to another host than this node get 421, other methods than GET and HEAD get 405, unknown paths get 404
 * with the list of known ones. Every error is JSON with an `error`.
 *
 * @example Usage
 * ```ts
 * import { createStatusApp } from "./app.ts";
 * import assert from "node:assert/strict";
 *
 * const app = createStatusApp({ hosts: () => [], report: () => assert.fail("not asked for") });
 * const response = await app.request("/healthz", { headers: { host: "localhost:8473" } });
 * assert.equal(await response.text(), "flanneld is running");
 * ```
 */
export function createStatusApp({ report, conditions = () => report().conditions, hosts }: StatusAppOptions): Hono {
  const app = createApp(PATHS);
  app.use(async (c, next) => {
    const host = c.req.header("host");
    if (!namesThisNode(host, hosts())) return refuseHost(c, host);
    if (c.req.method !== "GET" && c.req.method !== "HEAD") return refuseMethod(c);
    await next();
  });
  addHealth(app, conditions);
  app.get("/v1/status", (c) => c.json(statusBody(report())));
  app.get("/v1/peers", (c) => c.json(report().peers.map(rowOf)));
  return app;
}

/**
 * Makes the app of `--healthz-port`: `/healthz` and `/readyz` for any host and method, as flanneld serves them, since probes are
 * addressed to the node in ways that it can not know.
 */
export function createHealthApp({ report, conditions = () => report().conditions }: Omit<StatusAppOptions, "hosts">): Hono {
  const app = createApp(HEALTH_PATHS);
  addHealth(app, conditions);
  return app;
}

function createApp(paths: readonly string[]): Hono {
  const app = new Hono();
  app.use(secureHeaders({
    contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    strictTransportSecurity: false, // there is no TLS here
    xFrameOptions: "DENY",
  }));
  app.use(async (c, next) => {
    await next();
    c.header("Cache-Control", "no-store");
  });
  app.notFound((c) => c.json({ error: `There is nothing at ${c.req.path}`, paths }, 404));
  app.onError((error, c) => c.json({ error: `Cannot answer ${c.req.path}: ${error.message}` }, 500));
  return app;
}

function addHealth(app: Hono, conditions: () => Conditions): void {
  app.all("/healthz", (c) => c.text("flanneld is running"));
  app.all("/readyz", (c) => {
    const reason = reasonNotReady(conditions());
    return reason === null ? c.text("flanneld is ready") : c.text(`flanneld is not ready yet\n${reason}`, 503);
  });
}

function refuseHost(c: Context, host: string | undefined): Response {
  const error = host === undefined
    ? "The request has no Host header; send one that names this node, such as localhost"
    : `The request is for host ${
      JSON.stringify(host)
    }, which is no name or address of this node; use localhost, or the node's own name or address`;
  return c.json({ error }, 421);
}

function refuseMethod(c: Context): Response {
  const allow = "GET, HEAD";
  return c.json({ error: `${c.req.method} is not possible here, only ${allow}` }, 405, { Allow: allow });
}
