// Gathers the inputs of an encoder, which lie in slots in any order, into one batch. Each byte is read once, so that the
// slots may lie in the host's memory.
//
// `rows` has 6 numbers for each item of the batch: slot, source, first row of the ring, how many of the encoder's steps
// are skipped, how many after them are kept, length (0 of all but texts). A negative slot is padding of the batch.

template <typename Unit>
__device__ void copy(const unsigned char *from, unsigned char *to, int bytes)
{
    const Unit zero = {};
    for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < bytes / (int)sizeof(Unit); i += blockDim.x * gridDim.y)
        ((Unit *)to)[i] = from ? ((const Unit *)from)[i] : zero;
}

// Blocks (i, *) copy the first `bytes` bytes of the slot of item i to row i of `batch`; padding becomes zeros.
extern "C" __global__ void gather_slots(const unsigned char *slots, const int *rows, unsigned char *batch,
                                        int slot_bytes, int bytes)
{
    int slot = rows[6 * blockIdx.x];
    const unsigned char *from = slot < 0 ? nullptr : slots + (long long)slot * slot_bytes;
    unsigned char *to = batch + (long long)blockIdx.x * bytes;
    if (bytes % (int)sizeof(uint4) == 0)
        copy<uint4>(from, to, bytes);
    else if (bytes % (int)sizeof(int) == 0)
        copy<int>(from, to, bytes);
    else
        copy<unsigned char>(from, to, bytes);
}

// Block i pads the text of item i to row i of `ids` and `mask`, (texts, tokens) each. A text of padding alone still has
// one step that counts.
extern "C" __global__ void gather_texts(const int *slots, const int *rows, int *ids, int *mask, int slot_bytes,
                                        int tokens)
{
    const int *item = rows + 6 * blockIdx.x;
    const int *from = slots + (long long)item[0] * (slot_bytes / (int)sizeof(int));
    for (int i = threadIdx.x; i < tokens; i += blockDim.x) {
        bool inside = item[0] >= 0 && i < item[5];
        ids[(long long)blockIdx.x * tokens + i] = inside ? from[i] : 0;
        mask[(long long)blockIdx.x * tokens + i] = inside || i == 0;
    }
}
