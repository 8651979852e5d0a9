import { CASES } from './cases.ts'
import type { CaseOrder } from './pool-bench.ts'
import { timeStep } from './stopwatch.ts'

/**
 * Times one case, in a process of its own: an object knows one configuration, and V8 optimizes for
 * what it has seen. What other cases have left, code and garbage, is not this one's to pay for.
 */
const { name, keys, pace }: CaseOrder = JSON.parse(process.argv[2] ?? '')
const found = CASES.find((one) => one.name === name)
if (found === undefined) throw new Error(`There is no case ${name}`)
const step = found.prepare(keys)
// What the preparation has left is not to be collected at the cost of what is timed.
globalThis.gc?.()
process.stdout.write(JSON.stringify(timeStep(step, pace)))
