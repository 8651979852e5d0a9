import { describe, expect, it } from 'vitest'
import { PARTS, readArguments } from './arguments.ts'

describe('the arguments of the bench', () => {
  it('ask for everything where there are none', () => {
    expect(readArguments([])).toEqual({
      parts: PARTS,
      quick: false,
      json: null,
      markdown: null,
      profile: null,
      against: null,
      upstreamPort: 0,
    })
  })

  it('choose parts, which are measured in their own order', () => {
    expect(readArguments(['--only', 'counts,requests'])?.parts).toEqual(['requests', 'counts'])
  })

  it('name another gateway', () => {
    const args = ['--against', 'http://localhost:4000/v1', '--token', 'x', '--pid', '42']
    expect(readArguments([...args, '--upstream-port', '9099'])).toMatchObject({
      against: { url: new URL('http://localhost:4000/v1'), token: 'x', pid: 42 },
      upstreamPort: 9099,
    })
  })

  it.each([
    ['--only', 'everything'],
    ['--against', 'https://example.com/v1'],
    ['--against', 'localhost'],
    ['--pid', 'x'],
    ['--fast'],
    ['requests'],
  ])('are refused where they make no sense: %s %s', (...args) => {
    expect(readArguments(args)).toBeNull()
  })
})
