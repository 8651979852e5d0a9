import { Webhook } from 'standardwebhooks'
import { describe, expect, it } from 'vitest'
import type { AlertDuty, AlertMessage } from '../../../src/balancing/alerts/alert-outbox.ts'
import { ALERT_EVENTS, WITHOUT_END } from '../../../src/balancing/alerts/alert-policy.ts'
import { readAlertAddresses } from '../../../src/config/alerts/alert-addresses.ts'
import { createAlertDelivery } from '../../../src/gateway/alerts/alert-delivery.ts'
import { createVirtualTime } from '../virtual-time.ts'

const SECRET = `whsec_${btoa('k'.repeat(32))}`
const OTHER = `whsec_${btoa('o'.repeat(24))}`
const NOW_MS = Date.now()

type Answer = number | 'hang' | 'refuse'

/** Receivers that answer with these statuses, in turn; the last one again and again. */
function receiversOf(answers: readonly Answer[]) {
  const time = createVirtualTime(NOW_MS)
  const calls: {
    url: string
    init: RequestInit & { headers: Record<string, string> }
    body: string
  }[] = []
  let open = 0
  let most = 0
  const { addresses, faults } = readAlertAddresses(
    JSON.stringify({
      ops: { url: 'https://ops.example.com/hook', secret: [OTHER, SECRET] },
      chat: { url: 'https://chat.example.com/T0/secret-path', secret: SECRET, format: 'slack' },
      guild: { url: 'https://guild.example.com/1/x', secret: SECRET, format: 'discord' },
    }),
    false,
  )
  if (faults.length > 0) throw new Error(faults.join())
  const delivery = createAlertDelivery(
    {
      nowMs: time.nowMs,
      timer: time.timer,
      async fetch(url, init) {
        calls.push({ url, init: init as (typeof calls)[number]['init'], body: String(init.body) })
        const answer = answers[Math.min(calls.length, answers.length) - 1] ?? 200
        open += 1
        most = Math.max(most, open)
        await Promise.resolve()
        open -= 1
        if (answer === 'refuse') throw new Error(`cannot reach ${url}`)
        if (answer !== 'hang') return new Response(answer === 204 ? null : 'Hi', { status: answer })
        return await new Promise((_, reject) => {
          init.signal?.addEventListener('abort', () => reject(new Error('aborted')))
        })
      },
    },
    addresses,
  )
  return { delivery, calls, time, most: () => most }
}

function messageOf(changes: Partial<AlertMessage> = {}): AlertMessage {
  const told = { subject: 'alpha', sinceMs: NOW_MS - 60_000, facts: { key: 'alpha' } }
  return {
    ...{ id: 'msg_1', event: 'key_rejected', phase: 'begin', atMs: NOW_MS },
    ...{ alerts: [told], more: 0, missed: 0 },
    ...changes,
  }
}

const dutyOf = (to: string, ...messages: AlertMessage[]): AlertDuty => ({ to, messages })

describe('a message', () => {
  it('is signed with each secret, as a published library verifies it', async () => {
    const { delivery, calls } = receiversOf([204])
    const reports = await delivery.deliver([dutyOf('ops', messageOf())])
    expect(reports).toEqual([{ to: 'ops', id: 'msg_1', kind: 'delivered', status: 204 }])
    const [call] = calls
    if (call === undefined) throw new Error('Not sent')
    const { headers } = call.init
    expect(headers['webhook-signature']?.split(' ')).toHaveLength(2)
    for (const secret of [SECRET, OTHER]) {
      expect(new Webhook(secret).verify(call.body, headers)).toEqual({
        type: 'key_rejected.begin',
        timestamp: new Date(NOW_MS).toISOString(),
        text: 'Switchyard: ALERT: OpenRouter rejects key alpha. Replace the key, or take it out of the configuration.',
        data: {
          event: 'key_rejected',
          phase: 'begin',
          alerts: [
            { subject: 'alpha', began_at: new Date(NOW_MS - 60_000).toISOString(), key: 'alpha' },
          ],
          more: 0,
          missed: 0,
        },
      })
    }
    const stranger = `whsec_${btoa('x'.repeat(32))}`
    expect(() => new Webhook(stranger).verify(call.body, headers)).toThrow()
    expect(() => new Webhook(SECRET).verify(`${call.body} `, headers)).toThrow()
  })

  it('goes by POST as JSON, follows no redirect, and carries no key of ours', async () => {
    const { delivery, calls } = receiversOf([302])
    const [report] = await delivery.deliver([dutyOf('ops', messageOf())])
    expect(report).toMatchObject({ kind: 'failed', status: 302 })
    expect(calls).toHaveLength(1)
    const { method, redirect, headers } = calls[0]?.init ?? {}
    expect({ method, redirect }).toEqual({ method: 'POST', redirect: 'manual' })
    expect(Object.keys(headers ?? {}).toSorted()).toEqual([
      ...['content-type', 'user-agent', 'webhook-id', 'webhook-signature', 'webhook-timestamp'],
    ])
  })

  it('is one text for a chat', async () => {
    const { delivery, calls } = receiversOf([200])
    await delivery.deliver([dutyOf('chat', messageOf()), dutyOf('guild', messageOf())])
    const text = expect.stringContaining('OpenRouter rejects key alpha')
    expect(calls.map(({ body }) => JSON.parse(body))).toEqual([{ text }, { content: text }])
  })

  it.each<[Answer, string, number | null]>([
    [200, 'delivered', 200],
    [202, 'delivered', 202],
    [410, 'gone', 410],
    [404, 'failed', 404],
    [500, 'failed', 500],
    ['refuse', 'failed', null],
  ])('that is answered with %s was %s', async (answer, kind, status) => {
    const { delivery } = receiversOf([answer])
    expect(await delivery.deliver([dutyOf('ops', messageOf())])).toEqual([
      { to: 'ops', id: 'msg_1', kind, status },
    ])
  })

  it('that is not answered within five seconds has failed', async () => {
    const { delivery, time } = receiversOf(['hang'])
    const sent = delivery.deliver([dutyOf('ops', messageOf())])
    await new Promise((resolve) => setTimeout(resolve, 20))
    await time.advance(5_000)
    expect(await sent).toMatchObject([{ kind: 'failed', status: null }])
  })

  it('to an address that this Worker does not have yet has failed, and is not lost', async () => {
    const { delivery, calls } = receiversOf([200])
    expect(await delivery.deliver([dutyOf('new', messageOf())])).toMatchObject([
      { to: 'new', kind: 'failed', status: null },
    ])
    expect(calls).toEqual([])
  })
})

describe('messages', () => {
  const three = ['1', '2', '3'].map((id) => messageOf({ id }))

  it('of one address go one after the other, up to the first that fails', async () => {
    const { delivery, most } = receiversOf([200, 503, 200])
    const reports = await delivery.deliver([dutyOf('ops', ...three)])
    expect(reports.map(({ id, kind }) => `${id} ${kind}`)).toEqual(['1 delivered', '2 failed'])
    expect(most()).toBe(1)
  })

  it('of several addresses take two connections', async () => {
    const { delivery, most } = receiversOf([200])
    const reports = await delivery.deliver(
      ['ops', 'chat', 'guild'].map((to) => dutyOf(to, ...three)),
    )
    expect(reports).toHaveLength(9)
    expect(most()).toBe(2)
  })
})

describe('in words', () => {
  const textOf = async (changes: Partial<AlertMessage>) => {
    const { delivery, calls } = receiversOf([200])
    await delivery.deliver([dutyOf('chat', messageOf(changes))])
    return JSON.parse(calls[0]?.body ?? '').text
  }
  const about = (facts: AlertMessage['alerts'][number]['facts']) => ({
    alerts: [{ subject: 'x', sinceMs: NOW_MS, facts }],
  })

  it.each<[AlertMessage['event'], AlertMessage['alerts'][number]['facts'], string]>([
    [
      'key_spent',
      { key: 'a', until: '2026-02-01T00:00:00.000Z' },
      'is spent of key a until 2026-02-01T',
    ],
    ['key_spent', { key: 'a', until: null }, 'is spent of key a.'],
    [
      'key_expires_soon',
      { key: 'a', expires_at: '2026-02-01T00:00:00.000Z' },
      'Soon expires key a (2026-02-01T',
    ],
    [
      'credit_low',
      { key: 'a', remaining_usd: 1.234, limit_usd: 10, projected_end: null },
      'Little credit is left for key a ($1.23 left).',
    ],
    [
      'credit_low',
      { key: 'a', remaining_usd: 1, limit_usd: null, projected_end: '2026-02-01T00:00:00.000Z' },
      'spent by 2026-02-01T00:00:00.000Z at this rate)',
    ],
    ['account_out_of_credit', { account: 'acme' }, 'No credit is left in account acme.'],
    ['breaker_open', { key: 'a', until: null }, 'Requests keep failing with key a.'],
    ['usable_keys_below', { usable: 1, total: 4 }, 'Few keys are usable: 1 of 4.'],
    [
      'budget_threshold',
      { owner: 'client:app', period: 'day', percent: 80, usd: 10, spent_usd: 8.5 },
      'client:app (80 % of $10.00 a day: $8.50).',
    ],
    ['pool_degraded', {}, "The pool's object cannot be reached. Requests go on"],
    ['unknown_error', { error: '500 server_error', count: 3 }, '500 server_error (3 times).'],
    [
      'batch_ended',
      {
        ...{ batch: 'batch_7', client: 'app', status: 'completed' },
        ...{ total: 50, completed: 48, failed: 2, cost_usd: 1.25 },
      },
      'Switchyard: A batch has ended: batch_7 of app (completed: 48 of 50 lines completed, 2 failed, $1.25).',
    ],
  ])('%s', async (event, facts, words) => {
    expect(await textOf({ event, ...about(facts) })).toContain(words)
  })

  it('every event that ends says that it is over', async () => {
    for (const event of ALERT_EVENTS.filter((one) => !WITHOUT_END.has(one))) {
      const text = await textOf({ event, phase: 'end', ...about({ key: 'a' }) })
      expect(text).toMatch(/^Switchyard: Over: /)
    }
  })

  it('of many counts those that it does not name, and never is too long for a chat', async () => {
    const alerts = Array.from({ length: 20 }, (_, i) => {
      const subject = `${i}`.repeat(60)
      return { subject, sinceMs: NOW_MS, facts: { key: subject } }
    })
    const text = await textOf({ alerts, more: 480, missed: 2 })
    expect(text.length).toBeLessThanOrEqual(1_900)
    expect(await textOf({ alerts: alerts.slice(0, 2), more: 480, missed: 2 })).toMatch(
      /, 480 more\..*\(2 earlier messages could not be kept\.\)$/,
    )
  })
})
