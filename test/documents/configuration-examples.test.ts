import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { experimental_readRawConfig } from 'wrangler'
import { policySchema } from '../../src/config/policy.ts'
import { selectorFaults } from '../../src/config/route-policy.ts'
import { readUpstreamKeys } from '../../src/config/upstream-keys.ts'
import { CACHE_EXAMPLES } from './cache-examples.ts'
import { documentAt, documents } from './markdown.ts'

describe('the examples', () => {
  const examplesIn = (text: string) =>
    Array.from(text.matchAll(/```toml\n(.*?)```/gs), (match) => match[1] ?? '').filter((one) =>
      one.includes('POLICY'),
    )
  const examples = documents.flatMap(({ text }) => examplesIn(text))

  it('are configurations that a Worker would take', async () => {
    expect(examples.length).toBeGreaterThanOrEqual(5)
    for (const text of examples) {
      const policy = policySchema.parse(policyOf(text))
      const [, secret] = /OPENROUTER_KEYS='(.*)'/.exec(text) ?? []
      let count = 0
      const keys = (secret ?? 'sk-or-only').replaceAll('sk-or-…', () => `sk-or-example-${++count}`)
      const { faults, keys: read } = readUpstreamKeys({ OPENROUTER_KEYS: keys }, policy)
      const routes = policy.routes.map(({ keys }, i) => ({ where: `routes[${i}]`, keys }))
      expect([faults, selectorFaults(routes, read)]).toEqual([[], []])
    }
  })

  it('of shared and kept answers are those that a test runs', () => {
    const routes = examplesIn(documentAt('docs/caching.md').text).flatMap(
      (text) => Object(policyOf(text)).routes,
    )
    expect(routes).toEqual(Object.values(CACHE_EXAMPLES))
  })

  /** Read as Wrangler reads it, from a file. */
  function policyOf(text: string): unknown {
    const folder = mkdtempSync(join(tmpdir(), 'example-'))
    const path = join(folder, 'wrangler.toml')
    writeFileSync(path, `name = "example"\n${text}`)
    try {
      return experimental_readRawConfig({ config: path }).rawConfig.vars?.POLICY
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
})
