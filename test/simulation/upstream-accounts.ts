import type { AccountPlan } from './history.ts'

/** A key at OpenRouter. Its secret may be replaced: then the old one is refused. */
export interface UpstreamKeyRecord {
  readonly id: string
  readonly account: string
  secret: string
}

/** What is left for a key, in USD; null where nothing limits it. */
export interface Left {
  readonly balance: number
  readonly cap: number | null
  /** Of the budget over all keys of its account. */
  readonly layer: number | null
  readonly capUsd: number | null
  readonly layerUsd: number | null
}

const DAY_MS = 86_400_000

/** The money of OpenRouter's accounts. Caps and budgets are new at midnight UTC. */
export class UpstreamAccounts {
  readonly #plans: ReadonlyMap<string, AccountPlan>
  readonly #spentUsd = new Map<string, number>()
  readonly #nowMs: () => number

  constructor(plans: readonly AccountPlan[], nowMs: () => number) {
    this.#plans = new Map(plans.map((plan) => [plan.name, plan]))
    this.#nowMs = nowMs
  }

  charge({ id, account }: UpstreamKeyRecord, usd: number): void {
    const day = this.#day()
    for (const what of [account, `${id} ${day}`, `${account} ${day}`]) {
      this.#spentUsd.set(what, this.#spent(what) + usd)
    }
  }

  leftOf({ id, account }: UpstreamKeyRecord): Left {
    const { capUsd = null, layerUsd = null, balanceUsd = 0 } = this.#plans.get(account) ?? {}
    const day = this.#day()
    return {
      balance: balanceUsd - this.#spent(account),
      cap: capUsd === null ? null : capUsd - this.#spent(`${id} ${day}`),
      layer: layerUsd === null ? null : layerUsd - this.#spent(`${account} ${day}`),
      capUsd,
      layerUsd,
    }
  }

  credits({ account }: UpstreamKeyRecord): { total_credits: number; total_usage: number } {
    const { balanceUsd = 0 } = this.#plans.get(account) ?? {}
    return { total_credits: balanceUsd, total_usage: this.#spent(account) }
  }

  #spent(what: string): number {
    return this.#spentUsd.get(what) ?? 0
  }

  #day(): number {
    return Math.floor(this.#nowMs() / DAY_MS)
  }
}
