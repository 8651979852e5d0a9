import { describe, expect, it } from 'vitest'
import { conversationOf, maxTokensOf } from '../../../src/openrouter/requests/conversation.ts'

const none = new Headers()
const header = new Headers({ 'x-session-id': 'from-header' })
const opening = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hello' },
]
const of = (...messages: readonly unknown[]) =>
  conversationOf({}, none, () => messages, 'conversation')

describe('conversationOf', () => {
  it.each(['session', 'conversation'] as const)(
    'takes the name that a caller gave it (%s)',
    (affinity) => {
      const all = { session_id: 'from-body', prompt_cache_key: 'from-cache' }
      expect(conversationOf(all, header, () => opening, affinity)).toBe('from-body')
      expect(conversationOf({ ...all, session_id: '' }, header, () => opening, affinity)).toBe(
        'from-header',
      )
      expect(conversationOf({ ...all, session_id: 7 }, none, () => opening, affinity)).toBe(
        'from-cache',
      )
    },
  )

  it('makes a name of the beginning only for any conversation', () => {
    expect(conversationOf({}, none, () => opening, 'session')).toBeNull()
    expect(conversationOf({}, none, () => opening, 'conversation')).not.toBeNull()
  })

  it('has no name for anything if nothing keeps requests together', () => {
    expect(conversationOf({ session_id: 'a' }, header, () => opening, 'none')).toBeNull()
  })

  it.each([
    [[]],
    [['', null]],
    [[{ role: 'user', content: '' }]],
    [[{ role: 'user', content: [{ type: 'text', text: '' }] }]],
  ])('has no name for a beginning that says nothing: %j', (empty) => {
    expect(conversationOf({ session_id: null }, none, () => empty, 'conversation')).toBeNull()
  })

  it('tells beginnings apart by what is said', () => {
    const [system, user] = opening
    const names = [
      of(system, user),
      of(system, { role: 'user', content: 'Hello!' }),
      of(user),
      of({ role: 'system', content: 'Be long.' }, user),
      of('Be brief.Hello'),
      of([1, 2]),
      of([12]),
    ]
    expect(names).not.toContain(null)
    expect(new Set(names).size).toBe(names.length)
  })

  it('knows a conversation again when a client marks or numbers its messages anew', () => {
    const [system] = opening
    const marked = {
      id: 'msg_2',
      role: 'user',
      content: [{ type: 'text', text: 'Hello', cache_control: { type: 'ephemeral' } }],
    }
    expect(of(system, marked)).toBe(of(...opening))
  })

  it('tells long beginnings apart at their end, and messages after a long system prompt', () => {
    const long = 'You are helpful. '.repeat(100_000)
    const names = [
      of(long, 'Hello'),
      of(long, 'Goodbye'),
      of(`${long}!`, 'Hello'),
      of(long + long, 'Hello'),
    ]
    expect(new Set(names).size).toBe(names.length)
    for (const name of names) expect(name?.length).toBeLessThan(10_000)
  })

  it('gives out a name of bounded length, whatever comes', () => {
    const name = conversationOf({ session_id: 'x'.repeat(1e6) }, none, () => [], 'session')
    expect(name).toBe('x'.repeat(256))
    const many = Array.from({ length: 10_000 }, () => 'x'.repeat(10_000))
    expect(of(...many)?.length).toBeLessThan(150_000)
  })

  it('does not follow a message as deep as it goes', () => {
    const deep: unknown = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000))
    expect(of('Hello', deep)).toBe(of('Hello'))
  })
})

describe('maxTokensOf', () => {
  it.each([
    [{ max_completion_tokens: 100 }, 100],
    [{ max_tokens: 100 }, 100],
    [{ max_output_tokens: 100 }, 100],
    [{ max_completion_tokens: null, max_tokens: 50 }, 50],
    [{ max_tokens: 1, max_completion_tokens: 5000 }, 5000],
    [{ max_tokens: 0.5 }, 1],
    [{ max_tokens: 1e308 }, Number.MAX_SAFE_INTEGER],
  ])('reads the limit of %j', (body, limit) => {
    expect(maxTokensOf(body)).toBe(limit)
  })

  it.each([
    {},
    { max_tokens: 0 },
    { max_tokens: -1 },
    { max_tokens: '100' },
    { max_tokens: Number.NaN },
    { max_tokens: Number.POSITIVE_INFINITY },
  ])('finds none in %j', (body) => {
    expect(maxTokensOf(body)).toBeNull()
  })
})
