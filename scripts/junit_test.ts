/**
 * The reader of test reports, with reports that Bun 1.4.5 and Deno 2.9.6 wrote (shortened).
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { parseReport } from "./junit.mjs";

const BUN = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="7" assertions="0" failures="1" skipped="4" time="0.055690347">
  <testsuite name="a_test.ts" file="a_test.ts" tests="7" assertions="0" failures="1" skipped="4" time="0.046643606" hostname="vm">
    <testcase name="a() passes" classname="" time="0.001191" file="a_test.ts" line="3" assertions="0" />
    <testcase name="b() is skipped" classname="" time="0" file="a_test.ts" line="4" assertions="0">
      <skipped />
    </testcase>
    <testcase name="d() is todo" classname="" time="0" file="a_test.ts" line="6" assertions="0">
      <skipped message="TODO" />
    </testcase>
    <testcase name="g() fails" classname="" time="0.001121" file="a_test.ts" line="9" assertions="0">
      <failure type="AssertionError" message="Expected values to be strictly equal:&#10;&#10;1 !== 2&#10;">AssertionError</failure>
    </testcase>
    <testsuite name="group" file="a_test.ts" line="10" tests="1" assertions="0" failures="0" skipped="0" time="0" hostname="vm">
      <testcase name="inner &lt;&amp;&gt; &quot;x&quot;" classname="group" time="0.000024" file="a_test.ts" line="10" assertions="0" />
    </testsuite>
  </testsuite>
</testsuites>`;

const DENO = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="11" failures="1" errors="0" time="0.017">
    <testsuite name="./a_test.ts" tests="10" disabled="4" errors="0" failures="1">
        <testcase name="a() passes" classname="./a_test.ts" time="0.002" line="3" col="1">
        </testcase>
        <testcase name="b() is skipped" classname="./a_test.ts" time="0.000" line="4" col="1">
            <skipped/>
        </testcase>
        <testcase name="g() fails" classname="./a_test.ts" time="0.004" line="9" col="22">
            <failure message="Uncaught AssertionError: Expected values to be strictly equal:

1 !== 2
">AssertionError: if (x) test(&quot;g() fails&quot;, () =&gt; {})</failure>
        </testcase>
        <testcase name="group" classname="./a_test.ts" time="0.001" line="10" col="1">
        </testcase>
    </testsuite>
    <testsuite name="ext:deno_node/testing.ts" tests="1" disabled="0" errors="0" failures="0">
        <testcase name="group &gt; inner &lt;&amp;&gt;" classname="ext:deno_node/testing.ts" time="0.000" line="1" col="23191">
        </testcase>
    </testsuite>
</testsuites>`;

test("parseReport() reads what Bun writes", () => {
  assert.deepEqual(parseReport(BUN), [
    { file: "a_test.ts", name: "a() passes", outcome: "passed" },
    { file: "a_test.ts", name: "b() is skipped", outcome: "skipped" },
    { file: "a_test.ts", name: "d() is todo", outcome: "skipped" },
    { file: "a_test.ts", name: "g() fails", outcome: "failed" },
    { file: "a_test.ts", name: 'group > inner <&> "x"', outcome: "passed" },
  ]);
});

test("parseReport() reads what Deno writes and counts no group", () => {
  assert.deepEqual(parseReport(DENO), [
    { file: "./a_test.ts", name: "a() passes", outcome: "passed" },
    { file: "./a_test.ts", name: "b() is skipped", outcome: "skipped" },
    { file: "./a_test.ts", name: "g() fails", outcome: "failed" },
    { file: "ext:deno_node/testing.ts", name: "group > inner <&>", outcome: "passed" },
  ]);
});

test("parseReport() finds no test in an empty report", () => {
  assert.deepEqual(parseReport(""), []);
});
