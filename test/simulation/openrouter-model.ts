import { DONE, eventOf, PROCESSING, ROLE, said } from '../gateway/stream-texts.ts'
import {
  answer,
  errorAnswer,
  jsonAnswer,
  type MutableCall,
  recordOf,
  type Script,
  streamOf,
} from '../gateway/upstream-script.ts'
import type { VirtualTime } from '../gateway/virtual-time.ts'
import { UPSTREAM_URL } from '../gateway/virtual-world.ts'
import { chargeUsd, type PricedPlan } from './clients/priced-requests.ts'
import type { Draw } from './draw.ts'
import type { AccountPlan, Trouble } from './history.ts'
import { UpstreamAccounts, type UpstreamKeyRecord } from './upstream-accounts.ts'

/** A chat call, as OpenRouter sees it. */
export interface ChatCall {
  readonly request: string
  readonly key: string
  readonly model: string
  /** Whose fault the answer is, as OpenRouter knows it and the gateway has to find out. */
  readonly fault: 'none' | 'caller' | 'model' | 'key' | 'account' | 'platform'
  readonly record: MutableCall
  /** What it was charged. */
  costUsd: number
}

/** What OpenRouter makes of a call before any model is asked: a refusal, or nothing. */
interface Judged {
  readonly fault: ChatCall['fault']
  /** What it is counted as. */
  readonly name: string
  readonly script: Script
}

interface Asked {
  readonly key: UpstreamKeyRecord | null
  readonly model: string
  readonly isBad: boolean
}

/** What decides on the cost of an answer: the list of models, or so many units at most. */
interface Money {
  readonly units: number
  readonly priced?: PricedPlan
}

/** So many dollars or a small multiple for each answer. Sums of them are exact. */
export const COST_USD = 1 / 128

/** The most units that an answer costs which names no bound. */
export const MOST_UNITS = 8

/**
 * OpenRouter as far as the gateway can see it: accounts with balances, keys with caps, a budget over
 * the keys of an account, resets at midnight UTC, and troubles of every kind.
 */
export class OpenRouterModel {
  readonly keys: ReadonlyMap<string, UpstreamKeyRecord>
  readonly counts: Record<string, number> = {}
  readonly #accounts: UpstreamAccounts
  readonly #time: VirtualTime
  readonly #draw: Draw
  readonly #onCall: (call: ChatCall) => void
  readonly #troubles = new Set<Trouble>()
  #calls: ChatCall[] = []

  constructor(
    plan: {
      readonly accounts: readonly AccountPlan[]
      readonly keys: ReadonlyMap<string, UpstreamKeyRecord>
    },
    time: VirtualTime,
    draw: Draw,
    onCall: (call: ChatCall) => void,
  ) {
    this.keys = plan.keys
    this.#accounts = new UpstreamAccounts(plan.accounts, time.nowMs)
    this.#time = time
    this.#draw = draw
    this.#onCall = onCall
  }

  fetch(url: string, init: RequestInit): Promise<Response> {
    const path = url.slice(UPSTREAM_URL.length + 1)
    const record = recordOf(url, path, init, this.#time)
    const secret = (record.headers.get('authorization') ?? '').replace('Bearer ', '')
    const key = [...this.keys.values()].find((one) => one.secret === secret) ?? null
    return answer(this.#scriptFor(path, record, key), record, init.signal ?? null, this.#time)
  }

  begin(trouble: Trouble): void {
    this.#count(`trouble: ${trouble.kind}`)
    this.#troubles.add(trouble)
  }

  end(trouble: Trouble): void {
    this.#troubles.delete(trouble)
  }

  /** The chat calls that are not over. */
  open(): readonly ChatCall[] {
    return this.#calls.filter(({ record }) => record.isOpen)
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }

  #scriptFor(path: string, record: MutableCall, key: UpstreamKeyRecord | null): Script {
    switch (path) {
      case 'key':
        return this.#lookUp(key)
      case 'credits':
        return key === null
          ? errorAnswer(401, 'User not found.')
          : jsonAnswer(200, { data: this.#accounts.credits(key) })
      default:
        return this.#chat(record, key)
    }
  }

  #chat(record: MutableCall, key: UpstreamKeyRecord | null): Script {
    const { model, user, bad, units, priced } = JSON.parse(new TextDecoder().decode(record.body))
    const asked = { key, model, isBad: bad === true }
    const judged = this.#ofConnection() ?? this.#ofKey(asked) ?? this.#ofRequest(asked)
    if (judged !== null) this.#count(judged.name)
    const fault = judged?.fault ?? 'none'
    const call: ChatCall = { request: user, key: key?.id ?? '', model, fault, record, costUsd: 0 }
    this.#calls = [...this.open(), call]
    this.#count('calls')
    this.#onCall(call)
    if (judged !== null) return { headersAfterMs: this.#draw.int(1, 60), ...judged.script }
    return key === null ? {} : this.#streamFor(key, call, { units: units ?? MOST_UNITS, priced })
  }

  #has(kind: Trouble['kind'], of: { readonly [Name in string]?: string } = {}): boolean {
    return [...this.#troubles].some(
      (trouble) =>
        trouble.kind === kind &&
        Object.entries(of).every(([name, value]) => Object(trouble)[name] === value),
    )
  }

  #ofConnection(): Judged | null {
    const fault = 'platform'
    if (this.#has('refuses')) {
      return { fault, name: 'refused connection', script: { connection: 'refused' } }
    }
    return this.#has('hangs') ? { fault, name: 'hang', script: { connection: 'hang' } } : null
  }

  #ofKey({ key }: Asked): Judged | null {
    if (key === null || this.#has('key_rejected', { key: key.id })) {
      return { fault: 'key', name: '401', script: errorAnswer(401, 'User not found.') }
    }
    const left = this.#accounts.leftOf(key)
    if (left.balance <= 0 || this.#has('account_broke', { account: key.account })) {
      return { fault: 'account', name: '402', script: errorAnswer(402, 'Insufficient credits') }
    }
    if (left.cap !== null && left.cap <= 0) {
      const script = errorAnswer(403, 'Key limit exceeded (daily limit)')
      return { fault: 'key', name: '403 cap', script }
    }
    if (left.layer !== null && left.layer <= 0) {
      const metadata = { limit_source: 'guardrail_budget', reason: 'budget_exceeded' }
      const script = errorAnswer(403, 'A budget is exceeded.', metadata)
      return { fault: 'key', name: '403 budget', script }
    }
    return this.#ofRate(key)
  }

  #ofRate({ account }: UpstreamKeyRecord): Judged | null {
    const limited = [...this.#troubles].find(
      (trouble) => trouble.kind === 'account_limited' && trouble.account === account,
    )
    if (limited?.kind !== 'account_limited') return null
    const fault = 'account'
    if (!limited.named)
      return { fault, name: '429', script: errorAnswer(429, 'Rate limit exceeded') }
    const headers = { 'retry-after': `${this.#draw.of([2, 5, 40, 90])}` }
    const script = errorAnswer(429, 'Rate limit exceeded', {}, headers)
    return { fault, name: '429 named', script }
  }

  #ofRequest({ key, model, isBad }: Asked): Judged | null {
    if (isBad) {
      return { fault: 'caller', name: '400', script: errorAnswer(400, 'messages: field required') }
    }
    if (this.#has('key_fails', { key: key?.id ?? '' })) {
      return { fault: 'key', name: '500 of a key', script: errorAnswer(500, 'Internal error') }
    }
    if (this.#has('outage')) {
      return { fault: 'platform', name: '503', script: errorAnswer(503, 'Overloaded') }
    }
    if (this.#has('model_down', { model })) {
      const script = errorAnswer(503, 'No instances available')
      return { fault: 'model', name: '503 of a model', script }
    }
    if (!this.#has('provider_fault', { model })) return null
    const script = errorAnswer(502, 'Provider returned error', { provider_name: 'Vendor' })
    return { fault: 'model', name: '502', script }
  }

  #streamFor(key: UpstreamKeyRecord, call: ChatCall, money: Money): Script {
    const { chance, int } = this.#draw
    const isSlow = this.#has('slow')
    if (isSlow) this.#count('slow stream')
    const afterMs = () => (isSlow ? int(500, 25_000) : int(1, 300))
    const pieces = int(1, money.priced?.maxTokens ?? 4)
    const texts = [PROCESSING, ROLE, ...Array.from({ length: pieces }, (_, i) => said(`word ${i}`))]
    const play = (all: readonly string[]): Script => ({
      ...streamOf(),
      headersAfterMs: int(1, 120),
      body: all.map((text, i) => ({ text, afterMs: i === 0 ? 0 : afterMs() })),
    })
    if (this.#has('cuts') && chance(0.5)) {
      this.#count('cut stream')
      return { ...play(texts.slice(0, int(0, texts.length))), end: 'error', endAfterMs: 5 }
    }
    const { cost, prompt } = this.#chargeFor(call.model, money, pieces)
    call.costUsd = cost
    this.#accounts.charge(key, cost)
    const end = eventOf({
      id: `gen-${call.request}`,
      choices: [{ index: 0, delta: { content: '' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: prompt, completion_tokens: pieces, cost },
    })
    return play([...texts, end + DONE])
  }

  /** What an answer costs, and how long OpenRouter finds its prompt. */
  #chargeFor(model: string, { units, priced }: Money, completion: number) {
    const { int } = this.#draw
    const drawn = () => ({ cost: COST_USD * int(1, units), prompt: int(1, 200) })
    if (priced === undefined) return drawn()
    const prompt = int(1, Math.ceil(1.4 * priced.promptTokens))
    const cost = chargeUsd(model, priced, { prompt, completion }, this.#time.nowMs())
    if (cost === null) return drawn()
    this.#count('priced by the list')
    return { cost, prompt }
  }

  #lookUp(key: UpstreamKeyRecord | null): Script {
    this.#count('lookups')
    if (this.#has('refuses') || this.#has('outage')) return { connection: 'refused' }
    if (this.#has('hangs')) return { connection: 'hang' }
    if (key === null || this.#has('key_rejected', { key: key.id })) {
      return errorAnswer(401, 'User not found.')
    }
    const { cap, layer, capUsd, layerUsd } = this.#accounts.leftOf(key)
    const reset_interval = 'daily'
    const budget = { scope: 'creator', limit_usd: layerUsd, remaining_usd: layer, reset_interval }
    const data = {
      limit: capUsd,
      limit_remaining: cap,
      limit_reset: capUsd === null ? null : reset_interval,
      creator_user_id: `user-of-${key.account}`,
      organization_id: `org-of-${key.account}`,
      workspace_id: null,
      expires_at: null,
      ...(layer === null ? {} : { effective_budget: budget }),
    }
    return { ...jsonAnswer(200, { data }), headersAfterMs: this.#draw.int(1, 80) }
  }
}
