"""Names of CPUID's feature bits, as /proc/cpuinfo writes them where it has them.

Source: Intel's Software Developer's Manual, volume 2, CPUID; AMD's Architecture Programmer's
Manual, volume 3, appendix E; the kernel's Documentation/virt/kvm/x86/cpuid.rst for 0x40000001.
"""

# ruff: noqa: E501 (a register has 32 names, and a line for each register reads best)

from __future__ import annotations

from typing import Final

_TEXT: Final = """
1 0 ecx sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor
1 0 edx fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - ds acpi mmx fxsr sse sse2 ss ht tm ia64 pbe
6 0 eax dtherm ida arat - pln - pts hwp hwp_notify hwp_act_window hwp_epp hwp_pkg_req - hdc turbo_max_3 hwp_cap hwp_peci hwp_flexible hwp_fast - - - - hfi
6 0 ecx aperfmperf - - epb
7 0 ebx fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl
7 0 ecx prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid key_locker bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc pks
7 0 edx - sgx_keys avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect srbds_ctrl md_clear rtm_always_abort - tsx_force_abort serialize hybrid tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 spec_ctrl intel_stibp flush_l1d arch_capabilities core_capabilities ssbd
7 1 eax sha512 sm3 sm4 rao_int avx_vnni avx512_bf16 lass cmpccxadd arch_perfmon_ext - fzrm fsrs fsrc - - - - fred lkgs wrmsrns - amx_fp16 hreset avx_ifma - - lam msrlist
7 1 ebx ppin - - cpuid_limit_3
7 1 edx - - - - avx_vnni_int8 avx_ne_convert - - amx_complex - avx_vnni_int16 - - utmr prefetchi user_msr - uiret_uif cet_sss avx10 - apx_f mwait
7 2 edx psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no
0xd 1 eax xsaveopt xsavec xgetbv1 xsaves xfd
0x14 0 ebx intel_pt_cr3_filter intel_pt_psb_cyc intel_pt_ip_filter intel_pt_mtc intel_pt_ptwrite intel_pt_power_event
0x40000001 0 eax kvm_clocksource kvm_nop_io_delay kvm_mmu_op kvm_clocksource2 kvm_async_pf kvm_steal_time kvm_pv_eoi kvm_pv_unhalt - kvm_pv_tlb_flush kvm_async_pf_vmexit kvm_pv_send_ipi kvm_poll_control kvm_pv_sched_yield kvm_async_pf_int kvm_msi_ext_dest_id kvm_hc_map_gpa_range kvm_migration_control - - - - - - kvm_clocksource_stable
0x80000001 0 ecx lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx addr_mask_ext
0x80000001 0 edx fpu vme de pse tsc msr pae mce cx8 apic - syscall mtrr pge mca cmov pat pse36 - mp nx - mmxext mmx fxsr fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow
0x80000007 0 ebx overflow_recov succor - smca
0x80000007 0 edx ts fid vid ttp htc - hw_pstate - constant_tsc cpb aperfmperf - - acc_power
0x80000008 0 ebx clzero irperf xsaveerptr invlpgb rdpru - mba - - wbnoinvd - - amd_ibpb int_wbinvd amd_ibrs amd_stibp - amd_stibp_always_on ibrs_preferred same_mode_ibrs efer_lmsle_unsupported tlb_flush_nested - amd_ppin amd_ssbd virt_ssbd amd_ssb_no cppc amd_psfd btc_no ibpb_ret
0x8000000a 0 edx npt lbrv svm_lock nrip_save tsc_scale vmcb_clean flushbyasid decodeassists pmc_virt - pausefilter - pfthreshold avic - v_vmsave_vmload vgif gmet x2avic sss_check v_spec_ctrl rogpt - host_mce_override tlbi_ctrl vnmi ibs_virt ext_lvt_off_chg svme_addr_chk bus_lock_threshold idle_hlt
0x8000001f 0 eax sme sev vm_page_flush sev_es sev_snp vmpl rmpquery vmpl_sss secure_tsc tsc_aux_virt coherent_enc enc_64bit debug_swap alt_inject - no_host_ibs vte vmgexit_param - - - - - - allowed_sev_features - snp_svsm
0x80000021 0 eax no_nested_data_bp fsgs_non_serializing lfence_rdtsc smm_page_cfg_lock - - null_sel_clr_base upper_address_ignore autoibrs no_smm_ctl_msr fsrs fsrc - prefetchctl - - - cpuid_user_dis epsf - - - - - - - - sbpb ibpb_brtype srso_no srso_user_kernel_no
0x80000022 0 eax perfmon_v2 lbr_v2 lbr_pmc_freeze
"""
"""A line for each register: function, index, register, and the names from bit 0 on."""


def _table() -> dict[tuple[int, int, str], tuple[str, ...]]:
    table = {}
    for line in _TEXT.strip().splitlines():
        function, index, register, *names = line.split()
        table[int(function, 0), int(index), register] = tuple(names)
    return table


NAMES: Final = _table()
"""(function, index, register) to the names of its bits, from bit 0; "-" where none is known."""


def features_of(
    function: int, index: int, register: str, value: int
) -> tuple[list[str], int] | None:
    """(names of the bits that are set, bits set without a name); None for no feature register."""
    names = NAMES.get((function, index, register))
    if names is None:
        return None
    found = [name for bit, name in enumerate(names) if value >> bit & 1 and name != "-"]
    unnamed = value
    for bit, name in enumerate(names):
        if name != "-":
            unnamed &= ~(1 << bit)
    return found, unnamed
