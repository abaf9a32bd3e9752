/**
 * Builds the image of the Containerfile for the tests: `node scripts/image.mjs`.
 *
 * Without a registry: the base is made by debootstrap, the image by buildah, both once, in the cache; the image again whenever
 * something differs that it is made of. Needs root.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { AGENT } from "./build.mjs";
import { CACHE, environment, existing, find, LIBRARY_FOLDERS, ROOT } from "./needs.mjs";

/** What the image is called in the manifests. */
export const IMAGE_NAME = "localhost/weft:0.1.0";

const FOLDER = join(CACHE, "../image");
const BASE = "localhost/weft-base";
const SUITE = "bookworm";
const MINUTE = 60_000;

/** The archive of the image that is to be made of the files as they are, whether it exists or not. */
export function imageArchive() {
  const backends = readdirSync(join(ROOT, "backends")).filter((name) => !name.endsWith("_test.ts")).map((name) =>
    `backends/${name}`
  );
  const hash = createHash("sha256");
  for (const path of ["Containerfile", ...backends.sort()]) hash.update(path).update(readFileSync(join(ROOT, path)));
  if (existsSync(AGENT)) hash.update(readFileSync(AGENT));
  return join(FOLDER, `weft-${hash.digest("hex").slice(0, 16)}.tar`);
}

/**
 * Builds the image unless it is there.
 *
 * @returns Its archive, as `docker load` and `ctr images import` take it.
 * @throws {Error} If the machine can not build images; the message says why.
 */
export function buildImage() {
  const archive = imageArchive();
  if (existsSync(archive)) return archive;
  if (process.getuid() !== 0) throw new Error("Only root can build the image with chroot isolation");
  for (const command of ["buildah", "debootstrap"]) {
    if (find({ command }) === null) {
      throw new Error(`Cannot build the image: ${command} is missing; run: node scripts/setup.mjs test`);
    }
  }
  if (attempt(buildah("inspect", "--type", "image", BASE)).status !== 0) makeBase();
  must(buildah("build", "--layers", "--isolation", "chroot", ...POLICY, "--build-arg", `BASE=${BASE}`, "-t", IMAGE_NAME, "."));
  const fresh = `${archive}.${process.pid}`;
  try {
    must(buildah("push", ...POLICY, IMAGE_NAME, `docker-archive:${fresh}:${IMAGE_NAME}`));
    for (const name of readdirSync(FOLDER).filter((name) => /^weft-\w+\.tar$/.test(name))) rmSync(join(FOLDER, name));
    renameSync(fresh, archive);
  } finally {
    rmSync(fresh, { force: true });
  }
  return archive;
}

/** Makes the base image: a minimal Debian. */
function makeBase() {
  const root = join(FOLDER, "base");
  rmSync(root, { recursive: true, force: true });
  try {
    const scripts = join(CACHE, "usr/share/debootstrap"); // where it is if only unpacked
    const env = existsSync(scripts) ? { DEBOOTSTRAP_DIR: scripts } : {};
    must({ command: ["debootstrap", "--variant=minbase", SUITE, root], env });
    const container = must(buildah("from", "scratch"));
    must(buildah("add", "-q", container, root, "/"));
    must(buildah("commit", "-q", "--rm", ...POLICY, container, BASE));
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** Which images may be used: any, as the package says that is unpacked only. */
const POLICY = existsSync("/etc/containers/policy.json") ? [] : ["--signature-policy", join(CACHE, "etc/containers/policy.json")];

/**
 * Buildah, with storage in the cache. It starts itself again without its environment, so the libraries of an unpacked one are laid
 * over the machine's, in a mount namespace of its own.
 */
function buildah(...args) {
  const storage = ["--root", join(FOLDER, "storage"), "--runroot", join(FOLDER, "run"), "--storage-driver", "vfs"];
  const layers = LIBRARY_FOLDERS.filter((folder) => existing(CACHE, [folder]).length > 0 && existsSync(join("/", folder)));
  const mounts = layers.map((folder) => `mount -t overlay overlay -o lowerdir='${join(CACHE, folder)}:/${folder}' /${folder} && `);
  const command = ["unshare", "--mount", "--", "sh", "-c", `${mounts.join("")}exec "$@"`, "sh", "buildah", ...storage, ...args];
  return { command, env: {} };
}

/** Runs a command and returns what it prints. @throws {Error} If it fails. */
function must(step) {
  const { status, stdout, stderr, error } = attempt(step);
  if (status === 0) return stdout.trim();
  throw new Error(`${step.command.join(" ")}: ${error?.message ?? `${stdout}${stderr}`.slice(-2000)}`);
}

function attempt({ command, env }) {
  const [program, ...args] = command;
  const options = { cwd: ROOT, env: { ...environment(), ...env }, encoding: "utf8", timeout: 10 * MINUTE, maxBuffer: 1 << 26 };
  return spawnSync(program, args, options);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    console.log(buildImage());
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
