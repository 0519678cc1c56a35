package conformance

import (
	"errors"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const jobPage = "concepts/workloads/controllers/job/"

// job runs a script; its pods are not restarted.
func job(script string) *batchv1.Job {
	spec := policy(pod("job", shell("main", script)), corev1.RestartPolicyNever).Spec
	return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: spec}}}
}

func (s *scene) submit(j *batchv1.Job) {
	s.Helper()
	_, err := s.client.BatchV1().Jobs(s.namespace).Create(s.ctx, j, metav1.CreateOptions{})
	s.must(err)
}

// job waits for a state of the job.
func (s *scene) job(is func(*batchv1.Job) error) *batchv1.Job {
	s.Helper()
	return await(s, s.client.BatchV1().Jobs(s.namespace), "job", is)
}

// has is true of a Job with a condition, for a reason if there is one.
func has(kind batchv1.JobConditionType, reason string) func(*batchv1.Job) error {
	return func(j *batchv1.Job) error {
		for _, c := range j.Status.Conditions {
			if c.Type == kind && c.Status == corev1.ConditionTrue && (reason == "" || c.Reason == reason) {
				return nil
			}
		}
		return fmt.Errorf("status %+v, want %s %s", j.Status, kind, reason)
	}
}

func jobs() []claim {
	return []claim{
		{"A Job is complete when as many pods as completions have succeeded", jobPage + "#parallel-jobs", func(s *scene) {
			j := job("exit 0")
			j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](3), ptr.To[int32](2)
			s.submit(j)
			if now := s.job(has(batchv1.JobComplete, "")); now.Status.Succeeded != 3 {
				s.Errorf("%d succeeded", now.Status.Succeeded)
			}
		}},
		{"No more pods of a Job run at once than parallelism", jobPage + "#controlling-parallelism", func(s *scene) {
			j := job(":" + onward)
			j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](3), ptr.To[int32](2)
			s.submit(j)
			s.job(func(j *batchv1.Job) error {
				if j.Status.Active != 2 || j.Status.Ready == nil || *j.Status.Ready != 2 {
					return fmt.Errorf("status %+v", j.Status)
				}
				return nil
			})
			s.pods(2)
		}},
		{"A Job fails when its pods have failed backoffLimit times", jobPage + "#pod-backoff-failure-policy", func(s *scene) {
			j := job("exit 1")
			j.Spec.BackoffLimit = ptr.To[int32](0)
			s.submit(j)
			if now := s.job(has(batchv1.JobFailed, batchv1.JobReasonBackoffLimitExceeded)); now.Status.Failed != 1 {
				s.Errorf("%d failed", now.Status.Failed)
			}
		}},
		{"With OnFailure, a Job's pod is kept and its container restarted", jobPage + "#handling-pod-and-container-failures", func(s *scene) {
			j := job("")
			j.Spec.Template.Spec = policy(notebook(pod("job", shell("main", "test -f /notes/before || { touch /notes/before; exit 1; }"))), corev1.RestartPolicyOnFailure).Spec
			s.submit(j)
			s.job(has(batchv1.JobComplete, ""))
			if p := s.pods(1)[0]; container(p, "main").RestartCount != 1 {
				s.Errorf("restarts: %+v", p.Status.ContainerStatuses)
			}
		}},
		{"activeDeadlineSeconds ends a Job and its pods", jobPage + "#job-termination-and-cleanup", func(s *scene) {
			j := job(":" + onward)
			j.Spec.ActiveDeadlineSeconds = ptr.To[int64](2)
			s.submit(j)
			s.job(has(batchv1.JobFailed, batchv1.JobReasonDeadlineExceeded))
			s.pods(0)
		}},
		{"Each pod of an indexed Job has an index of its own, as a variable, and in its hostname", jobPage + "#completion-mode", func(s *scene) {
			j := job(`echo "$JOB_COMPLETION_INDEX $(hostname)"`)
			j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
			j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](2), ptr.To[int32](2)
			s.submit(j)
			if now := s.job(has(batchv1.JobComplete, "")); now.Status.CompletedIndexes != "0,1" {
				s.Errorf("completed %q", now.Status.CompletedIndexes)
			}
			for _, p := range s.pods(2) {
				index := p.Annotations[batchv1.JobCompletionIndexAnnotation]
				if log := s.log(p.Name, "main"); log != index+" job-"+index {
					s.Errorf("pod %s printed %q", p.Name, log)
				}
			}
		}},
		{"A podFailurePolicy may fail the Job for an exit code", jobPage + "#pod-failure-policy", func(s *scene) {
			j := job("exit 42")
			j.Spec.BackoffLimit = ptr.To[int32](6)
			j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action: batchv1.PodFailurePolicyActionFailJob,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
					Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{42},
				},
			}}}
			s.submit(j)
			if now := s.job(has(batchv1.JobFailed, batchv1.JobReasonPodFailurePolicy)); now.Status.Failed != 1 {
				s.Errorf("%d failed", now.Status.Failed)
			}
		}},
		{"A finished Job is removed ttlSecondsAfterFinished later, with its pods", jobPage + "#ttl-mechanism-for-finished-jobs", func(s *scene) {
			j := job("exit 0")
			j.Spec.TTLSecondsAfterFinished = ptr.To[int32](1)
			s.submit(j)
			gone[*batchv1.Job](s, s.client.BatchV1().Jobs(s.namespace), "job")
			s.pods(0)
		}},
		{"A suspended Job has no pods until it is resumed, and loses them when it is suspended", jobPage + "#suspending-a-job", func(s *scene) {
			j := job(":" + onward)
			j.Spec.Suspend = ptr.To(true)
			s.submit(j)
			s.job(has(batchv1.JobSuspended, ""))
			s.pods(0)
			suspend := func(yes bool) {
				_, err := s.client.BatchV1().Jobs(s.namespace).Patch(s.ctx, "job", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"suspend":%v}}`, yes), metav1.PatchOptions{})
				s.must(err)
			}
			suspend(false)
			s.until(s.pods(1)[0].Name, ready)
			suspend(true)
			s.pods(0)
		}},
		{"A Job with a success policy is complete when the index it names has succeeded", jobPage + "#success-policy", func(s *scene) {
			j := job(`test "$JOB_COMPLETION_INDEX" = 0 && exit 0` + onward)
			j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
			j.Spec.Completions, j.Spec.Parallelism = ptr.To[int32](2), ptr.To[int32](2)
			j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0")}}}
			s.submit(j)
			s.job(has(batchv1.JobComplete, batchv1.JobReasonSuccessPolicy))
		}},
		{"A CronJob makes Jobs, which it owns, at their time", "concepts/workloads/controllers/cron-jobs/", func(s *scene) {
			_, err := s.client.BatchV1().CronJobs(s.namespace).Create(s.ctx, &batchv1.CronJob{
				ObjectMeta: metav1.ObjectMeta{Name: "cron"},
				Spec:       batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: job("exit 0").Spec}},
			}, metav1.CreateOptions{})
			s.must(err)
			awaitAll(s, s.client.BatchV1().Jobs(s.namespace), metav1.ListOptions{}, "jobs", func(all []*batchv1.Job) error {
				if len(all) == 0 {
					return errAbsent
				}
				if owner := metav1.GetControllerOf(all[0]); owner == nil || owner.Name != "cron" || !strings.HasPrefix(all[0].Name, "cron-") {
					return errors.New("it is not owned")
				}
				return has(batchv1.JobComplete, "")(all[0])
			})
		}},
	}
}
