import { nanosOf, usdOf } from '../../balancing/clients/budget.ts'
import type { QuotaView } from '../../balancing/clients/quota.ts'
import { type GatewayError, gatewayError } from '../../gateway/answers/gateway-error.ts'
import { planBody } from '../../http/request-plan.ts'
import { API_SHAPES } from '../../openrouter/shapes/shape-registry.ts'
import { type BatchEndpoint, shapePath } from '../files/batch-endpoint.ts'
import { linesOf } from '../files/batch-lines.ts'
import type { LinesEstimate } from '../files/stored-file.ts'
import type { BatchContext } from './batches-on.ts'

/** Sums up what lines can cost at most, each by the bound that it will be reserved by. */
export class EstimateOfLines {
  readonly #c: BatchContext
  #nanos = 0
  #unbounded = 0
  /** The prices that this isolate lacks. The first line waits for them. */
  #coming: Promise<unknown> | null = null

  constructor(c: BatchContext) {
    this.#c = c
  }

  /** @param bytes of a line that is in order */
  async add(bytes: Uint8Array, endpoint: BatchEndpoint): Promise<void> {
    const [line] = linesOf(bytes, 1)
    const shape = API_SHAPES.find(({ path }) => path === shapePath(endpoint))
    if (line === undefined || shape === undefined) return
    const { gateway, caller } = this.#c.var
    const held = gateway.memory.open()
    try {
      const planned = await planBody(gateway, {
        ...{ shape, bytes: line.body, held, caller, headers: JSON_HEADERS },
        background: (work) => {
          this.#coming = work
          this.#c.executionCtx.waitUntil(work)
        },
      })
      // What the client may not ask for costs nothing.
      const cost = planned.ok ? planned.plan.cost : undefined
      if (cost === undefined) return
      if (cost().isPending) await this.#coming
      const { nanos } = cost()
      if (nanos === null) this.#unbounded += 1
      else this.#nanos += nanos
    } finally {
      held.release()
    }
  }

  get(): LinesEstimate {
    return { nanos: this.#nanos, unbounded: this.#unbounded }
  }
}

const JSON_HEADERS = new Headers({ 'content-type': 'application/json' })

/**
 * The error for a batch that one of its client's budgets does not pay for as a whole; null if all do.
 * A budget that only warns refuses nothing.
 */
export function estimateError(
  { nanos, unbounded }: LinesEstimate,
  quotas: readonly QuotaView[],
): GatewayError | null {
  for (const { owner, budgets } of quotas) {
    for (const { terms, leftNanos } of budgets) {
      const most = nanos + unbounded * nanosOf(terms.reserveUsd)
      if (terms.onExceeded === 'warn' || most <= leftNanos) continue
      const [estimate, left] = [usdOf(most), usdOf(leftNanos)]
      const message =
        `The lines of this batch can cost ${estimate} USD, and the budget of this client key has ` +
        `${left} USD left. Set max_tokens in the lines, ask for more, or let it run as far as the ` +
        'budget goes with "allow_partial": true.'
      const metadata = { limited: owner, period: terms.period, estimate, left }
      return gatewayError('budget_exceeded', message, { metadata })
    }
  }
  return null
}
