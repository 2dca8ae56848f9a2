/*
 * PV MMIO for ioeventfds: a guest that only ever writes the registered width
 * to exactly the registered address lets KVM signal without decoding the
 * instruction. Proposed in 2013, never merged.
 *
 * Read behind <linux/kvm.h>: the flag takes the next bit that this header has
 * free, and the valid mask grows by it. Headers that have the flag already
 * keep their own.
 */
#ifndef KVM_IOEVENTFD_FLAG_PV_MMIO

enum {
	kvm_ioeventfd_flag_nr_pv_mmio = kvm_ioeventfd_flag_nr_max
};

#define KVM_IOEVENTFD_FLAG_PV_MMIO (1 << kvm_ioeventfd_flag_nr_pv_mmio)

#undef KVM_IOEVENTFD_VALID_FLAG_MASK
#define KVM_IOEVENTFD_VALID_FLAG_MASK \
	((1 << (kvm_ioeventfd_flag_nr_pv_mmio + 1)) - 1)

#endif
