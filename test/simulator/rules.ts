import { z } from 'zod'
import { type FaultParams, faultParamsSchema } from './fault-params.ts'
import { FAULT_NAMES } from './faults.ts'

export const faultNameSchema = z.string().refine((name) => FAULT_NAMES.includes(name), {
  error: (issue) =>
    `there is no fault "${String(issue.input)}"; the catalogue: ${FAULT_NAMES.join(' ')}`,
})

export const ruleSchema = z.strictObject({
  fault: faultNameSchema,
  params: faultParamsSchema.prefault({}),
  /** All given fields must match. Without `path` a rule strikes only inference requests. */
  match: z
    .strictObject({
      key: z.string().optional(),
      account: z.string().optional(),
      model: z.string().optional(),
      /** Below /api/v1, like `/key`; `*` is every path. */
      path: z.string().optional(),
    })
    .prefault({}),
  /** How many times the rule strikes; without it, there is no limit. */
  times: z.number().int().positive().optional(),
  /** The probability that it strikes, by the seeded generator of the settings. */
  probability: z.number().min(0).max(1).optional(),
})
export type RuleInput = z.input<typeof ruleSchema>

export interface Rule {
  readonly id: number
  readonly rule: z.infer<typeof ruleSchema>
  struck: number
}

/** The values that rules match. */
export interface Target {
  readonly key: string | null
  readonly account: string | null
  readonly model: string | null
  readonly path: string
  readonly inference: boolean
}

/** The first rule that strikes the target, or null. The strike counts for the rule's `times`. */
export function strikingRule(
  rules: readonly Rule[],
  target: Target,
  random: () => number,
): { fault: string; params: FaultParams } | null {
  for (const candidate of rules) {
    const { rule } = candidate
    if (rule.times !== undefined && candidate.struck >= rule.times) continue
    if (!matches(rule.match, target)) continue
    if (rule.probability !== undefined && random() >= rule.probability) continue
    candidate.struck += 1
    return { fault: rule.fault, params: rule.params }
  }
  return null
}

function matches(match: Rule['rule']['match'], target: Target): boolean {
  const wanted = (value: string | undefined, actual: string | null) =>
    value === undefined || value === actual
  const onPath =
    match.path === undefined ? target.inference : match.path === '*' || match.path === target.path
  return (
    onPath &&
    wanted(match.key, target.key) &&
    wanted(match.account, target.account) &&
    wanted(match.model, target.model)
  )
}

/** Mulberry32. For the same seed and the same order of requests, the faults are the same. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
