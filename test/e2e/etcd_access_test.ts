/**
 * A real etcd that speaks TLS, wants client certificates, or knows users: who may come in, what is said to those who may not, and that
 * renewed files and tokens need no restart.
 *
 * @module
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Secret } from "../../src/config/secret.ts";
import type { EtcdOptions, EtcdStore } from "../../src/stores/etcd/store.ts";
import { EtcdBacking } from "../contracts/etcd_backing.ts";
import { requestOf } from "../contracts/lease_entries.ts";
import { followLeases } from "../contracts/followed_leases.ts";
import { until } from "../lab/command.ts";
import { ETCD, ETCD_3_6, type Found, lackOf } from "./binaries.ts";
import { EtcdCluster } from "./etcd_cluster.ts";

const PASSWORD = "correct horse battery staple";
const REQUEST = requestOf("192.168.64.1");
const soon = () => AbortSignal.timeout(20_000);

/** Certificates in a folder. */
class Authority implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-certificates-"));

  constructor() {
    for (const name of ["ca", "other-ca"]) {
      this.#openssl("req", "-x509", ...KEY, "-keyout", `${name}.key`, "-out", `${name}.crt`, "-days", "2", "-subj", `/CN=${name}`);
    }
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Signs a certificate; `days` may be negative. */
  sign(name: string, subject: string, { ca = "ca", days = 2 } = {}): { readonly cert: string; readonly key: string } {
    writeFileSync(this.path("san"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
    this.#openssl("req", ...KEY, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", subject);
    const signed = ["-CA", `${ca}.crt`, "-CAkey", `${ca}.key`, "-CAcreateserial", "-extfile", "san", "-days", String(days)];
    this.#openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.crt`, ...signed);
    return { cert: this.path(`${name}.crt`), key: this.path(`${name}.key`) };
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #openssl(...args: readonly string[]): void {
    execFileSync("openssl", args, { cwd: this.folder, stdio: "ignore" });
  }
}

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** Waits until the store says that it can not come in, and why. */
async function refused(store: EtcdStore, reason: RegExp): Promise<void> {
  const controller = new AbortController();
  const asking = store.previousLease([], controller.signal).catch(() => {});
  await until(`it says ${reason}`, () => {
    const { connected, lastError } = store.health();
    if (!connected && reason.test(lastError ?? "")) return true;
    throw new Error(`It says ${lastError}`);
  });
  controller.abort();
  await asking;
}

function accessTo(name: string, etcd: Found): void {
  const skip = lackOf(etcd);
  describe(name, { skip }, () => {
    const authority = skip ? null : new Authority();
    after(() => authority?.[Symbol.dispose]());
    const ca = () => authority!.path("ca.crt");

    describe("TLS", { skip }, () => {
      let cluster: EtcdCluster;
      before(async () => {
        if (skip) return;
        const tls = { ca: ca(), ...authority!.sign("server", "/CN=server") };
        cluster = await EtcdCluster.start({ etcd, tls });
      });
      after(() => cluster?.[Symbol.asyncDispose]());

      test("the authority's certificate is enough", async () => {
        await using backing = new EtcdBacking(cluster);
        await using store = await backing.open(null, { tls: { caFile: ca(), certFile: null, keyFile: null } });
        await store.acquire(REQUEST, soon());
        await using followed = followLeases(store);
        await followed.until("the lease", ({ leases }) => leases.size === 1);
      });

      test("a server that another authority vouches for, or none, is not trusted, and that is said", async () => {
        await using backing = new EtcdBacking(cluster);
        await using wrong = await backing.open(null, {
          tls: { caFile: authority!.path("other-ca.crt"), certFile: null, keyFile: null },
        });
        await refused(wrong, /^Cannot reach etcd https:.*--etcd-cafile ".*other-ca\.crt" vouches for/);
        await using none = await backing.open();
        await refused(none, /^Cannot reach etcd https:.*give --etcd-cafile/);
        await using plain = await backing.open(null, { endpoints: [cluster.endpoints[0]!.replace("https", "http")] });
        await refused(plain, /it speaks TLS: give --etcd-cafile, or https:/);
      });

      test("a file that is not there, or is none, is named", async () => {
        await using backing = new EtcdBacking(cluster);
        await using missing = await backing.open(null, { tls: { caFile: "/nowhere.crt", certFile: null, keyFile: null } });
        await refused(missing, /^Cannot read "\/nowhere\.crt" of --etcd-cafile/);
        const garbage = authority!.path("garbage");
        writeFileSync(garbage, "no certificate");
        await using wrong = await backing.open(null, { tls: { caFile: garbage, certFile: null, keyFile: null } });
        await refused(wrong, /garbage" holds no certificate/);
      });
    });

    describe("client certificates", { skip }, () => {
      let cluster: EtcdCluster;
      before(async () => {
        if (skip) return;
        const tls = { ca: ca(), ...authority!.sign("server", "/CN=server") };
        cluster = await EtcdCluster.start({ etcd, tls, args: ["--client-cert-auth", `--trusted-ca-file=${ca()}`] });
      });
      after(() => cluster?.[Symbol.asyncDispose]());

      test("who has one comes in; a wrong one is named, and one that is renewed is taken up without a restart", async () => {
        await using backing = new EtcdBacking(cluster);
        const files = { caFile: ca(), certFile: authority!.path("used.crt"), keyFile: authority!.path("used.key") };
        const use = ({ cert, key }: { readonly cert: string; readonly key: string }) => {
          copyFileSync(cert, files.certFile);
          copyFileSync(key, files.keyFile);
        };
        const good = authority!.sign("client", "/CN=client");
        use(authority!.sign("expired", "/CN=client", { days: -1 }));
        await using store = await backing.open(null, { tls: files });
        await refused(store, /the certificate in --etcd-certfile ".*used\.crt" expired at \d{4}-/);
        use(authority!.sign("foreign", "/CN=client", { ca: "other-ca" }));
        await refused(store, /it may not trust the client certificate ".*used\.crt"/);
        use(good);
        await store.acquire(REQUEST, soon());
        assert.deepEqual(store.health(), { connected: true, lastError: null });
        await using none = await backing.open(null, { tls: { ...files, certFile: null, keyFile: null } });
        await refused(none, /it may want a client certificate: give --etcd-certfile and --etcd-keyfile/);
      });
    });

    describe("users", { skip }, () => {
      let cluster: EtcdCluster;
      const user = (name: string, password: string) => ({ name, password: new Secret(password) });
      before(async () => {
        if (skip) return;
        const tls = { ca: ca(), ...authority!.sign("server", "/O=root") };
        const args = ["--client-cert-auth", `--trusted-ca-file=${ca()}`, "--auth-token-ttl=1"];
        cluster = await EtcdCluster.start({ etcd, tls, args });
        const make = async (name: string, role: string) => {
          await cluster.ask("/v3/auth/user/add", { name, password: PASSWORD });
          await cluster.ask("/v3/auth/role/add", { name: role });
          await cluster.ask("/v3/auth/user/grant", { user: name, role });
        };
        await make("root", "root");
        await make("weft", "weft");
        await make("guest", "guest");
        const perm = { permType: "READWRITE", key: base64("/weft/network/"), range_end: base64("/weft/network0") };
        await cluster.ask("/v3/auth/role/grant", { name: "weft", perm });
        await cluster.ask("/v3/auth/enable", {});
      });
      after(() => cluster?.[Symbol.asyncDispose]());

      async function opened(
        given: Partial<EtcdOptions>,
        subject = "/O=weft",
      ): Promise<{ store: EtcdStore; logged: readonly string[] }> {
        const backing = new EtcdBacking(cluster);
        const { cert, key } = authority!.sign("any", subject);
        const tls = { caFile: ca(), certFile: cert, keyFile: key };
        return { store: await backing.open(null, { prefix: "/weft/network", tls, ...given }), logged: backing.logged };
      }

      test("a user whose role allows it comes in, and stays in when the token has expired", async () => {
        const { store, logged } = await opened({ user: user("weft", PASSWORD) });
        await using _ = store;
        const lease = await store.acquire(REQUEST, soon());
        await using followed = followLeases(store);
        await followed.until("the lease", ({ leases }) => leases.size === 1);
        await sleep(2500); // tokens live for a second without use
        await store.renew({ ...lease, backendType: "host-gw" }, soon());
        await followed.until("the change", ({ leases }) => leases.get(lease.key)?.backendType === "host-gw");
        await cluster.stop();
        await cluster.startAll();
        await store.release(lease, soon());
        await followed.until("its end", ({ leases }) => leases.size === 0);
        assert.doesNotMatch(logged.join(), new RegExp(PASSWORD));
      });

      test("a wrong password, a user without rights, and none at all are told apart", async () => {
        const wrong = await opened({ user: user("weft", "wrong horse") });
        await using _wrong = wrong.store;
        await refused(wrong.store, /does not let user "weft" in: .*check --etcd-username and --etcd-password/);
        assert.doesNotMatch(wrong.logged.join(), /wrong horse/);
        const guest = await opened({ user: user("guest", PASSWORD) });
        await using _guest = guest.store;
        await refused(guest.store, /permission denied; give the user's role readwrite on the keys below --etcd-prefix/);
        for (const subject of ["/O=weft", "/CN=weft"]) {
          const nobody = await opened({}, subject);
          await using _nobody = nobody.store;
          await refused(
            nobody.store,
            /takes a user from a client certificate only over gRPC.*give --etcd-username and --etcd-password/,
          );
        }
      });
    });
  });
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

accessTo("access to etcd, the distribution's", ETCD);
accessTo("access to etcd 3.6", ETCD_3_6);
