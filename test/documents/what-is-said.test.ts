import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { root, source } from './markdown.ts'

describe('SECURITY.md', () => {
  const security = source('SECURITY.md')

  it.each([
    ['who owns a key, by errors that are passed on', /errors hold the `user_id`/],
    [
      'what others have asked, by the response cache',
      /`X-OpenRouter-Cache: true`[^.]*others use too/,
    ],
    ['and what to do about it', /need\s+pools of their own/],
  ])('says what clients of one pool can learn of each other: %s', (_, sentence) => {
    const [, paragraph = ''] =
      /^- (Clients of one pool can learn of each other\.[\s\S]*?)(?=^- )/m.exec(security) ?? []
    expect(paragraph).toMatch(sentence)
  })
})

describe('the official clients', () => {
  const { devDependencies } = JSON.parse(source('package.json'))
  const { packages } = JSON.parse(source('package-lock.json'))
  const majorOf = (version: string) => Number(/^\^?(\d+)\./.exec(version)?.[1])

  it.each(['openai', '@anthropic-ai/sdk', '@openrouter/sdk', 'ai', '@openrouter/ai-sdk-provider'])(
    '%s is tested in the major that package.json asks for, locked and installed',
    (name) => {
      const locked = packages[`node_modules/${name}`].version
      const path = join(root, 'node_modules', name, 'package.json')
      const installed = JSON.parse(readFileSync(path, 'utf8')).version
      expect(majorOf(locked)).toBe(majorOf(devDependencies[name]))
      expect(installed).toBe(locked)
    },
  )
})
