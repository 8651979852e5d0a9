import { describe, expect, it } from 'vitest'
import { createClientPipe } from '../../../src/gateway/answers/client-pipe.ts'

const bytes = (text: string) => new TextEncoder().encode(text)

function open() {
  const told: string[] = []
  const pipe = createClientPipe(
    () => told.push('over'),
    () => told.push('gone'),
  )
  const reader = pipe.readable.getReader()
  const read = async () => new TextDecoder().decode((await reader.read()).value)
  return { pipe, reader, read, told }
}

/** Whether a promise has settled once all others that can have. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const note = () => {
    settled = true
  }
  promise.then(note, note)
  for (let turn = 0; turn < 50; turn++) await Promise.resolve()
  return settled
}

describe('the pipe to a client', () => {
  it('has room only while the client waits for more', async () => {
    const { pipe, read } = open()
    const room = pipe.awaitRoom()
    expect(pipe.hasRoom()).toBe(false)
    expect(await isSettled(room)).toBe(false)
    const first = read()
    expect(await room).toBe(true)
    pipe.write(bytes('a'))
    expect(await first).toBe('a')
    expect(pipe.hasRoom()).toBe(false)
  })

  it('ends when the client has it all, and not before', async () => {
    const { pipe, reader, read, told } = open()
    pipe.write(bytes('a'))
    const ended = pipe.end()
    expect(await read()).toBe('a')
    expect(await isSettled(ended)).toBe(false)
    expect(told).toEqual([])
    expect((await reader.read()).done).toBe(true)
    await ended
    expect(told).toEqual(['over'])
  })

  it('is over when the client leaves, and takes no more', async () => {
    const { pipe, reader, told } = open()
    const room = pipe.awaitRoom()
    await reader.cancel()
    expect(await room).toBe(false)
    expect(told).toEqual(['over', 'gone'])
    pipe.write(bytes('a'))
    expect(await pipe.awaitRoom()).toBe(false)
    await pipe.end()
    expect(told).toEqual(['over', 'gone'])
  })

  it('that is hurried waits for nobody, and the client still gets everything', async () => {
    const { pipe, reader, read, told } = open()
    const room = pipe.awaitRoom()
    pipe.hurry()
    expect(await room).toBe(true)
    pipe.write(bytes('a'))
    pipe.write(bytes('b'))
    await pipe.end()
    expect(told).toEqual([])
    expect([await read(), await read(), (await reader.read()).done]).toEqual(['a', 'b', true])
    expect(told).toEqual(['over'])
  })

  it('that is abandoned breaks for the client', async () => {
    const { pipe, reader, told } = open()
    const reading = reader.read()
    pipe.abandon()
    await expect(reading).rejects.toThrow()
    pipe.abandon()
    expect(told).toEqual(['over'])
  })
})
