/** One charge, as a test can read it. */
export interface Charge {
  readonly generationId: string
  readonly key: string
  readonly account: string
  readonly model: string
  readonly costUsd: number
  /** Of these, the share that a provider took from the account's own key is not charged. */
  readonly upstreamUsd: number
}

/** Everything that was charged since the world began. */
export interface ChargeReport {
  /** In whole nano-dollars, so that a ledger can be compared without an error. */
  readonly totalNanos: number
  readonly byKey: Readonly<Record<string, number>>
  readonly byAccount: Readonly<Record<string, number>>
  readonly byModel: Readonly<Record<string, number>>
  readonly byGeneration: Readonly<Record<string, number>>
  readonly charges: readonly Charge[]
}

export const nanosOf = (usd: number) => Math.round(usd * 1e9)

export function chargeReport(charges: readonly Charge[]): ChargeReport {
  const sums = (name: 'key' | 'account' | 'model' | 'generationId') => {
    const sum = new Map<string, number>()
    for (const charge of charges) {
      sum.set(charge[name], (sum.get(charge[name]) ?? 0) + nanosOf(charge.costUsd))
    }
    return Object.fromEntries(sum)
  }
  return {
    totalNanos: charges.reduce((total, { costUsd }) => total + nanosOf(costUsd), 0),
    byKey: sums('key'),
    byAccount: sums('account'),
    byModel: sums('model'),
    byGeneration: sums('generationId'),
    charges,
  }
}
