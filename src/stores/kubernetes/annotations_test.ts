/**
 * Prefixes as flannel takes and refuses them (flannel.md 4.2).
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { annotationNames, ANNOTATIONS } from "./annotations.ts";

for (
  const [prefix, full] of [
    ["flannel.alpha.coreos.com", "flannel.alpha.coreos.com/public-ip"],
    ["flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/public-ip"],
    ["example.org/blue", "example.org/blue-public-ip"],
    ["example.org/blue-", "example.org/blue-public-ip"],
    ["example.org/a_b-2", "example.org/a_b-2-public-ip"],
  ] as const
) {
  test(`the prefix ${prefix} gives ${full}, and it is known again`, () => {
    const names = annotationNames(prefix);
    assert.equal(names.full("public-ip"), full);
    for (const name of ANNOTATIONS) assert.equal(names.known(names.full(name)), name);
    assert.equal(names.known("public-ip"), undefined);
    assert.equal(names.known(`${full}x`), undefined);
  });
}

for (
  const prefix of ["org", "Flannel.example.org", "example.org/Blue", "example.org/a/b", "", "/x", "example.org/ü", "-\nexample.org"]
) {
  test(`the prefix ${JSON.stringify(prefix)} is refused, with what is expected`, () => {
    assert.throws(() => annotationNames(prefix), /^SyntaxError: .*expected a domain name in lower case/s);
  });
}
