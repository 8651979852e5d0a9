import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { serialize } from 'node:v8'
import { describe, expect, it } from 'vitest'
import { createExposition } from '../../src/admin/metrics/exposition.ts'
import { METRICS } from '../../src/admin/metrics/metric-names.ts'
import { tellPool } from '../../src/admin/metrics/pool-metrics.ts'
import { addCounters, createCounters, tallyOf } from '../../src/balancing/accounting/ledger.ts'
import { countRequest } from '../../src/balancing/accounting/request-row.ts'
import { watchForAlerts } from '../../src/balancing/alerts/alert-watch.ts'
import { clientId } from '../../src/balancing/ids.ts'
import { MAX_CLIENTS_TOLD, readings } from '../../src/balancing/readings/pool-readings.ts'
import { drivePool, POLICY, usageOf } from '../balancing/pool-driver.ts'
import { needs, promtool } from './debian-tools.ts'
import { documentAt, quoted, rowsOf, source } from './markdown.ts'

/** Names that a reader of the text could trip over: they come from callers. */
const STRANGE = ['a"b', 'a\\b', 'a\nb', 'a\ud800', 'a\ud801', '(other)', '{le="1"} 5', '# HELP x']

/** A pool in which everything that is told has happened. */
function eventfulPool() {
  const maxSpend = { usd: 500, period: 'day' } as const
  const pool = drivePool([
    { id: 'a', rpm: 100, tpm: 1e6, maxSpend, account: 'acme' },
    { id: 'b', account: 'acme' },
    'c',
  ])
  pool.lookUp('a', 100, { limitUsd: 200, expiresAtMs: pool.now() + 1e6 })
  for (const model of ['vendor/model', ...STRANGE]) {
    pool.give(pool.grantOf('a', { model }), { usage: usageOf(200, 50, 2.5), firstOutputMs: 300 })
  }
  pool.trip('c')
  return pool
}

function textOf({ state, now }: ReturnType<typeof drivePool>): string {
  const exposition = createExposition()
  exposition.add(METRICS.up, true)
  exposition.add(METRICS.keys, state.keys.size)
  exposition.add(METRICS.queue, 100)
  tellPool(exposition, readings(state, now()))
  return exposition.text()
}

/** The value of each sample, by its name and labels as they stand in the text. */
function samplesOf(text: string): ReadonlyMap<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.replace(/ \S+$/, ''), Number(line.split(' ').at(-1))]))
}

describe('the metrics', () => {
  const text = textOf(eventfulPool())
  const samples = samplesOf(text)

  it('are what promtool calls good', (context) => {
    needs('promtool', context)
    expect(() => promtool(['check', 'metrics'], text)).not.toThrow()
  })

  it('have no line twice, and each its kind and what it says', () => {
    const lines = text.trimEnd().split('\n')
    expect(lines.filter((line) => !line.startsWith('#'))).toHaveLength(samples.size)
    for (const line of samples.keys()) {
      const name = line.replace(/\{.*/s, '').replace(/_(?:bucket|sum|count)$/, '')
      expect(text, name).toContain(`# TYPE ${name} `)
      expect(text, name).toMatch(new RegExp(`^# HELP ${name} \\S`, 'm'))
    }
  })

  it('say which keys may serve and which may not, and why', () => {
    expect(samples.get('switchyard_keys')).toBe(3)
    expect(samples.get('switchyard_keys_usable')).toBe(2)
    expect(samples.get('switchyard_key_usable{key="c"}')).toBe(0)
    expect(samples.get('switchyard_key_out{key="c",reason="breaker_open"}')).toBe(1)
    expect(samples.get('switchyard_breaker_state{key="c",state="open"}')).toBe(1)
    expect(samples.get('switchyard_breaker_state{key="c",state="closed"}')).toBe(0)
    expect(samples.get('switchyard_key_info{key="a",account="acme"}')).toBe(1)
    expect(samples.has('switchyard_key_out{key="a",reason="breaker_open"}')).toBe(false)
  })

  it('count attempts, faults, tokens and money', () => {
    const answers = 1 + STRANGE.length
    expect(samples.get('switchyard_attempts_total{key="a",outcome="success"}')).toBe(answers)
    expect(samples.get('switchyard_attempt_faults_total{key="c",fault="upstream"}')).toBe(3)
    expect(samples.get('switchyard_key_tokens_total{key="a",type="prompt"}')).toBe(200 * answers)
    expect(samples.get('switchyard_model_cost_usd_total{model="vendor/model"}')).toBe(2.5)
    expect(samples.get('switchyard_key_credit_limit_usd{key="a"}')).toBe(200)
    expect(samples.get('switchyard_budget_limit_usd{owner="key:a",period="day"}')).toBe(500)
    expect(samples.get('switchyard_budget_spent_usd{owner="key:a",period="day"}')).toBe(
      2.5 * answers,
    )
  })

  it('count requests by outcome, and their retries', () => {
    const pool = drivePool(['a'])
    const { requests } = pool.state.ledger
    const note = { id: 'x', mark: 'x', text: '{}' }
    countRequest(requests, { ...note, outcome: 'answered', attempts: 3 })
    countRequest(requests, { ...note, outcome: 'refused', attempts: 0 })
    // As an older Worker sends it.
    countRequest(requests, note)
    const told = samplesOf(textOf(pool))
    expect(told.get('switchyard_requests_total{outcome="answered"}')).toBe(1)
    expect(told.get('switchyard_requests_total{outcome="refused"}')).toBe(1)
    expect(told.get('switchyard_requests_total{outcome="failed"}')).toBe(0)
    expect(told.get('switchyard_retries_total')).toBe(2)
  })

  it('say which alerts there are, who is yet to be told, and how many lines of batches run', () => {
    const to = new Map([['breaker_open', ['phone']]] as const)
    const pool = drivePool(['a', 'b'], { alerts: { ...POLICY.alerts, to } })
    pool.trip('a')
    watchForAlerts({ state: pool.state, nowMs: pool.now(), random: () => 0.5 })
    pool.grantOf('b', { class: 'batch' })
    const told = samplesOf(textOf(pool))
    expect(told.get('switchyard_alerts_active{event="breaker_open"}')).toBe(1)
    expect(told.get('switchyard_alerts_active{event="key_spent"}')).toBe(0)
    expect(told.get('switchyard_alert_messages_undelivered{to="phone"}')).toBe(1)
    expect(told.get('switchyard_batch_lines_running')).toBe(1)
  })

  it('have what answers took, by buckets that are all there', () => {
    const labels = 'key="a",gen_ai_provider_name="openrouter"'
    const name = 'gen_ai_client_operation_time_to_first_chunk_seconds'
    const told = (at: string) => samples.get(`${name}_bucket{${labels},le="${at}"}`)
    expect([told('0.16'), told('0.32'), told('81.92'), told('+Inf')]).toEqual([0, 9, 9, 9])
    expect(samples.get(`${name}_count{${labels}}`)).toBe(9)
    expect(samples.get(`${name}_sum{${labels}}`)).toBeCloseTo(9 * 0.3)
  })

  it('tell names as they are, and two that look the same as one', () => {
    expect(samples.get('switchyard_model_cost_usd_total{model="a\\"b"}')).toBe(2.5)
    expect(samples.get('switchyard_model_cost_usd_total{model="a\\\\b"}')).toBe(2.5)
    expect(samples.get('switchyard_model_cost_usd_total{model="a\\nb"}')).toBe(2.5)
    expect(samples.get('switchyard_model_cost_usd_total{model="a\ufffd"}')).toBe(5)
  })

  it('are bounded, and what is beyond the bound is one sum', () => {
    const pool = drivePool(['a'])
    const { ledger } = pool.state
    for (let i = 0; i < MAX_CLIENTS_TOLD + 50; i++) {
      const { total } = tallyOf(ledger.byClient, clientId(`client-${i}`), pool.now())
      addCounters(total, { ...createCounters(), attempts: 1, successes: 1, costUsd: 2 })
    }
    const told = samplesOf(textOf(pool))
    const clients = [...told.keys()].filter((line) => line.startsWith('switchyard_client_cost'))
    expect(clients).toHaveLength(MAX_CLIENTS_TOLD + 1)
    expect(told.get('switchyard_client_cost_usd_total{client="(other)"}')).toBe(100)
    expect(told.get('switchyard_client_cost_usd_total{client="client-0"}')).toBe(2)
  })

  it('cost the object less than two milliseconds at a hundred keys', () => {
    const keys = Array.from({ length: 100 }, (_, i) => `k${i}`)
    const pool = drivePool(keys)
    for (let lease = 0; lease < 1_000; lease += 1) {
      const grant = pool.grant({ model: `vendor/m${lease % 50}` })
      if (lease % 2 === 0) pool.give(grant, { usage: usageOf(200, 50, 0.01), firstOutputMs: 300 })
    }
    const tookMs = Array.from({ length: 30 }, () => {
      const beganMs = performance.now()
      // As it goes to the Worker.
      serialize(readings(pool.state, pool.now()))
      return performance.now() - beganMs
    })
    // The least: what else this machine does is no cost of a scrape.
    expect(Math.min(...tookMs)).toBeLessThan(2)
  })

  it('are all in the table, and the table has no others', () => {
    const told = Object.values(METRICS).map(({ name, type }) => `${name} ${type}`)
    const rows = rowsOf('metric').flatMap(([names = '', type]) =>
      quoted(names).map((name) => `${name} ${type}`),
    )
    expect(rows.toSorted()).toEqual(told.toSorted())
  })
})

describe('the examples for Prometheus', () => {
  const { text } = documentAt('docs/monitoring.md')
  const blocks = Array.from(text.matchAll(/```yaml\n(.*?)```/gs), (match) => match[1] ?? '')
  const config = blocks.find((block) => block.startsWith('scrape_configs:')) ?? ''
  const rules = blocks.find((block) => block.startsWith('groups:')) ?? ''

  it('are what promtool calls good', (context) => {
    needs('promtool', context)
    const folder = mkdtempSync(join(tmpdir(), 'prometheus-'))
    try {
      const written = (name: string, yaml: string) => {
        const path = join(folder, name)
        writeFileSync(path, yaml)
        return path
      }
      // Without the file of the token, which is only where Prometheus runs.
      const scraping = ['check', 'config', '--syntax-only', written('prometheus.yml', config)]
      expect(() => promtool(scraping)).not.toThrow()
      expect(() => promtool(['check', 'rules', written('rules.yml', rules)])).not.toThrow()
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('ask for metrics and labels that there are', () => {
    const known = new Set<string>(Object.values(METRICS).map(({ name }) => name))
    const asked = rules.match(/\b(?:switchyard|gen_ai)_\w+/g) ?? []
    expect(asked.length).toBeGreaterThan(5)
    expect(asked.filter((name) => !known.has(name.replace(/_(?:bucket|sum|count)$/, '')))).toEqual(
      [],
    )
  })
})

describe('the spans', () => {
  const code = ['attempting', 'answering', 'leases/pool-exchanges', 'attempts/attempt-history']
    .map((name) => source(`src/gateway/${name}.ts`))
    .join('\n')

  it('of the table are those that there are, and say what they say', () => {
    const rows = rowsOf('span')
    const names = rows.flatMap(([name = '']) => quoted(name))
    const entered = Array.from(code.matchAll(/inSpan\([^,]+, '([^']+)'/g), ([, name]) => name)
    expect(names.toSorted()).toEqual(entered.toSorted())
    const facts = rows.flatMap(([, , says = '']) => quoted(says)).filter((word) => /\./.test(word))
    const noted = Array.from(
      code.matchAll(/'((?:switchyard|gen_ai|http)\.[\w.]+)':/g),
      ([, name]) => name,
    )
    expect(new Set(facts)).toEqual(new Set(noted))
  })
})
