// Copies rows of an encoder's output to where they belong in a ring of features, which the host has chosen.
//
// `rows` has 6 numbers for each item of the batch: slot, source, first row of the ring, how many of the encoder's steps
// are skipped, how many after them are kept, length (0 of all but texts). Block i takes row i of `features`,
// (items * steps, dim), to the ring of its source in `rings`, (sources * ring_rows, dim), of which the first `capacity`
// rows are written round and round; steps that are not kept, and those that pad a batch, are left out. A row with a NaN
// or an infinity is written as zeros and tells of itself in faults[source]: even a masked NaN would poison what attends
// to it. The faults may lie in the host's memory: all that is ever written there is 1, so that no order matters.
extern "C" __global__ void scatter_rows(const float *features, const int *rows, float *rings, int *faults, int steps,
                                        int dim, int capacity, int ring_rows)
{
    const int *item = rows + 6 * (blockIdx.x / steps);
    int step = (int)(blockIdx.x % steps) - item[3];
    if (step < 0 || step >= item[4])
        return;
    const float *from = features + (long long)blockIdx.x * dim;
    float *to = rings + ((long long)item[1] * ring_rows + (item[2] + step) % capacity) * dim;
    int bad = 0;
    for (int i = threadIdx.x; i < dim; i += blockDim.x)
        bad |= !isfinite(from[i]);
    bad = __syncthreads_or(bad);
    for (int i = threadIdx.x; i < dim; i += blockDim.x)
        to[i] = bad ? 0.0f : from[i];
    if (bad && threadIdx.x == 0)
        faults[item[1]] = 1;
}
