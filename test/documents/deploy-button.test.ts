import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { describe, expect, it } from 'vitest'
import { experimental_readRawConfig } from 'wrangler'
import { holdsOpenRouterKey } from '../local/env-file.ts'
import { documentAt, firstCells, root, source } from './markdown.ts'

describe('what the deploy button reads', () => {
  const secrets = firstCells('secret')
  const example = source('.dev.vars.example')

  it('is an example of the secrets, each once and without a value', () => {
    expect(parseEnv(example)).toEqual(Object.fromEntries(secrets.map((name) => [name, ''])))
    expect(example.match(/^\w+=/gm)).toHaveLength(secrets.length)
  })

  it('holds no key that npm start would call OpenRouter with', () => {
    expect(holdsOpenRouterKey(example)).toBe(false)
  })

  it('is a description of every secret, variable and binding, and of nothing else', () => {
    const { cloudflare }: { cloudflare: { bindings: Record<string, { description: string }> } } =
      JSON.parse(source('package.json'))
    const { rawConfig } = experimental_readRawConfig({ config: join(root, 'wrangler.toml') })
    const bound = [
      ...secrets,
      ...Object.keys(rawConfig.vars ?? {}),
      ...(rawConfig.durable_objects?.bindings ?? []).map(({ name }: { name: string }) => name),
      ...(rawConfig.kv_namespaces ?? []).map(({ binding }: { binding: string }) => binding),
    ]
    expect(Object.keys(cloudflare.bindings).toSorted()).toEqual(bound.toSorted())
    const descriptions = Object.values(cloudflare.bindings).map(({ description }) => description)
    expect(descriptions.filter((text) => text === '')).toEqual([])
  })

  it('is linked by the README', () => {
    const { text } = documentAt('README.md')
    expect(text).toContain('https://deploy.workers.cloudflare.com/?url=https://github.com/')
  })
})
