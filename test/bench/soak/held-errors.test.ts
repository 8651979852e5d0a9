import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { forgetFrames } from '../../../src/openrouter/error-frames.ts'

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

/** A `WeakRef` keeps what it has shown until the turn is over. */
const nextTurn = () => new Promise((resolve) => setImmediate(resolve))

/** Something that waits in a method while a read fails, as a request does. */
class Reading {
  readonly bytes = new Uint8Array(1024)

  async read(fail: () => Error): Promise<Error> {
    try {
      throw await this.#failed(fail)
    } catch (error) {
      return error as Error
    }
  }

  async #failed(fail: () => Error): Promise<Error> {
    await nextTurn()
    return this.bytes.length > 0 ? fail() : new Error('nothing to read')
  }
}

/** An error that somebody holds for good, and whether what it came through is still alive. */
async function heldError() {
  const reading = new WeakRef(new Reading())
  const error = await reading.deref()?.read(() => new Error('Network connection lost.'))
  return { error, isAlive: () => reading.deref() !== undefined }
}

it.each([
  ['holds what it came through', () => undefined, true],
  ['does not any more, once its frames are forgotten', forgetFrames, false],
])('an error that is held %s', async (_, forget, alive) => {
  const { error, isAlive } = await heldError()
  forget(error)
  await nextTurn()
  collectGarbage()
  expect(isAlive()).toBe(alive)
  expect(error?.message).toBe('Network connection lost.')
})

it('what is no error is left alone', () => {
  expect(() => forgetFrames('lost')).not.toThrow()
})
